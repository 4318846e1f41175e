"""A program comes to its end in the middle of sampling: it exits at once, and quietly."""

from __future__ import annotations

import pytest

from tests.reliability.programs import Launch, in_each_host
from tinker_client.local_server import LocalServer

THREADS = """
client = connect()

def sample_for_ever():
    while True:
        sample(client, range(20))

for _ in range(4):
    threading.Thread(target=sample_for_ever, daemon=True).start()
sample(client, range(100))
"""

LOOP = """
import asyncio
client = connect()

async def sample_for_ever():
    while True:
        await asyncio.gather(*(client.sample_async(types.ModelInput.from_ints([n]), 1, PARAMS)
                               for n in range(20)))

threading.Thread(target=asyncio.run, args=(sample_for_ever(),), daemon=True).start()
sample(client, range(100))
"""

FIRST_USE = """
threading.Thread(target=connect, daemon=True).start()
time.sleep(0.05)
"""

PENDING = """
client = connect()
pending = [ask(client, number) for number in range(2000)]
"""

WAITED_FOR = """
client = connect()
pending = ask(client, 1)
for _ in range(4):
    threading.Thread(target=pending.result, daemon=True).start()
time.sleep(0.1)
"""

QUIET = {
    "threads that sample": THREADS,
    "a loop that samples": LOOP,
    "threads that wait": WAITED_FOR,
    "requests that nobody waits for": PENDING,
}


@in_each_host
@pytest.mark.parametrize("code", QUIET.values(), ids=QUIET)
def test_at_once_and_without_a_word(
    launch: Launch, slow_server: LocalServer, sim_server: LocalServer, code: str, sidecar: bool | str
) -> None:
    server = slow_server if code in (PENDING, WAITED_FOR) else sim_server
    program = launch(code + "\nsay('done')", server=server, sidecar=sidecar)
    program.expect("done")
    ending = program.wait()  # Not the minutes that an answer of the slow server takes.

    assert (ending.status, ending.errors) == (0, "")
    program.assert_nothing_left()


@in_each_host
def test_in_the_middle_of_the_first_use(launch: Launch, sidecar: bool | str) -> None:
    """What Python says of a daemon thread that it cuts off is its own; ours is to end and leave nothing."""
    program = launch(FIRST_USE + "\nsay('done')", sidecar=sidecar)
    program.expect("done")

    assert program.wait().status == 0
    program.assert_nothing_left()
