"""`fork` with requests in flight: the parent does not notice, the child starts afresh, nobody hangs."""

from __future__ import annotations

import pytest

from tests.reliability.programs import Launch, in_each_host

pytestmark = [pytest.mark.in_all_hosts, in_each_host]

IN_FLIGHT = """
client = connect()
sample(client, range(10))
futures = {number: ask(client, number) for number in range(2000)}
for _ in range(3):
    if os.fork() == 0:
        sample(client, range(100))
        os._exit(0)
check(futures)
sample(client, range(100))
for _ in range(3):
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
say("all of them")
"""


def test_parent_and_children_get_theirs(launch: Launch, sidecar: bool | str) -> None:
    program = launch(IN_FLIGHT, sidecar=sidecar)
    program.expect("all of them")

    program.assert_ends_well()


WHILE_THREADS_SAMPLE = """
client = connect()
sampling = True

def sample_on():
    while sampling:
        sample(client, range(20))

threads = [threading.Thread(target=sample_on) for _ in range(4)]
for thread in threads:
    thread.start()
for _ in range(5):
    child = os.fork()
    if child == 0:
        sample(client, range(10))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
sampling = False
for thread in threads:
    thread.join()
say("no lock held for ever")
"""


def test_while_other_threads_are_in_the_middle_of_it(launch: Launch, sidecar: bool | str) -> None:
    program = launch(WHILE_THREADS_SAMPLE, sidecar=sidecar)
    program.expect("no lock held for ever")

    ending = program.wait()
    assert (ending.status, ending.errors) == (0, "")


# The answer comes to the parent, so that the child would wait for ever.
PENDING = """
import asyncio, concurrent.futures
from tinker_client import SidecarError

client = connect()
sample(client, range(10))
futures = {number: ask(client, number) for number in range(2000)}
pending = futures[1999]

async def wait_for_it():
    return await pending

if os.fork() == 0:
    for wait in (lambda: pending.result(20), lambda: asyncio.run(wait_for_it()),
                 lambda: [future.result(0) for future in concurrent.futures.as_completed([pending], 20)]):
        try:
            wait()
        except SidecarError as error:
            assert "fork" in str(error), error
        else:
            os._exit(1)
    sample(client, range(10))
    os._exit(0)
check(futures)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
say("said so")
"""


def test_what_is_pending_fails_in_the_child(launch: Launch, sidecar: bool | str) -> None:
    program = launch(PENDING, sidecar=sidecar)
    program.expect("said so")

    ending = program.wait()
    assert (ending.status, ending.errors) == (0, "")
