"""Where the sidecar is first needed, and so started: threads, loops and scripts of every sort."""

from __future__ import annotations

import pytest

from tests.reliability.programs import Launch

PLACES = {
    # Nothing that is tied to the thread which started it may end it.
    "a thread that ends": """
clients = []
thread = threading.Thread(target=lambda: clients.append(connect()))
thread.start()
thread.join()
time.sleep(0.1)
sample(clients[0], range(100))
""",
    "many threads at once": """
threads = [threading.Thread(target=lambda: sample(connect(), range(20))) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
""",
    # A notebook's cells run on the main thread, in a loop that runs already, and call what blocks.
    "a notebook's cell": """
import asyncio

async def cell():
    client = connect()
    sample(client, range(100))
    assert (await client.sample_async(types.ModelInput.from_ints([1]), 1, PARAMS)).sequences
    sample(connect(), range(100))

asyncio.run(cell())
""",
    # Its main module is run anew by whatever starts a process with `multiprocessing`.
    "a script without a guard": """
import multiprocessing
assert multiprocessing.parent_process() is None
sample(connect(), range(100))
""",
    "a daemonic worker": """
import multiprocessing

def work():
    assert multiprocessing.current_process().daemon
    sample(connect(), range(100))
    raise SystemExit(7)

worker = multiprocessing.get_context("fork").Process(target=work, daemon=True)
worker.start()
worker.join()
assert worker.exitcode == 7
""",
    "a signal handler": """
def sample_now(*_):
    sample(connect(), range(100))

signal.signal(signal.SIGUSR1, sample_now)
os.kill(os.getpid(), signal.SIGUSR1)
""",
}


@pytest.mark.parametrize("code", PLACES.values(), ids=PLACES)
def test_from(launch: Launch, code: str) -> None:
    program = launch(code + "\nsay('sampled')")
    program.expect("sampled")

    program.assert_ends_well()
