"""A program is killed for want of memory, say, and leaves behind the processes it had forked."""

from __future__ import annotations

import os
import signal

from tests.reliability.programs import Launch
from tests.waiting import has_ended, wait_until

# Each child inherits what the parent has open to its sidecar; one is a user of its own sidecar, too.
WITH_CHILDREN = """
import multiprocessing

client = connect()
sample(client, range(10))
context = multiprocessing.get_context("fork")

def sample_for_ever():
    sample(client, range(10))
    say("a child samples")
    while True:
        sample(client, range(10))
        if os.path.exists(os.environ["TMPDIR"] + "/orphaned"):
            sample(client, range(100))
            say("an orphan samples")
            os._exit(0)

for _ in range(3):
    context.Process(target=time.sleep, args=(60,)).start()
context.Process(target=sample_for_ever).start()
pending = [ask(client, number) for number in range(1000)]
time.sleep(60)
"""


def test_its_sidecar_goes_and_that_of_its_child_stays(launch: Launch) -> None:
    program = launch(WITH_CHILDREN)
    program.expect("a child samples")
    sidecars = {sidecar.ppid(): sidecar for sidecar in program.sidecars()}
    own = sidecars.pop(program.pid)
    [childs] = sidecars.values()
    program.process.kill()
    assert program.wait().status == -signal.SIGKILL

    wait_until(lambda: has_ended(own.pid))
    assert childs.is_running()
    (program.temporary / "orphaned").touch()
    program.expect("an orphan samples")
    program.assert_nothing_left()
    os.killpg(program.pid, signal.SIGKILL)  # The sleepers, which were there all the time.
