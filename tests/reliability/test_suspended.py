"""Processes that are stopped for a while, as by Ctrl-Z or a laptop's lid, go on where they were."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable

import psutil
import pytest

from tests.reliability.programs import Launch
from tests.waiting import wait_until
from tinker_client.local_server import LocalServer

# Long against the server's latency, and against a turn of any loop.
PAUSE = 1.5

SAMPLING = """
client = connect()
sample(client, range(10))
futures = {number: ask(client, number) for number in range(1000)}
say("sampling")
check(futures)
sample(client, range(10))
say("all of them")
"""


@pytest.mark.parametrize("who", ["the sidecar", "the program", "both"])
def test_nothing_is_lost(launch: Launch, who: str) -> None:
    program = launch(SAMPLING)
    program.expect("sampling")
    [sidecar] = program.sidecars()
    stopped = {"the sidecar": [sidecar.pid], "the program": [program.pid]}.get(
        who, [program.pid, sidecar.pid]
    )
    pause(stopped)
    program.expect("all of them")

    program.assert_ends_well()


def test_the_server_is_stopped(launch: Launch, sim_server: LocalServer) -> None:
    program = launch(SAMPLING)
    program.expect("sampling")
    pause([sim_server.pid])
    program.expect("all of them")
    assert program.wait().status == 0


def test_a_program_that_is_killed_while_its_sidecar_is_stopped(launch: Launch) -> None:
    """It cannot notice before it is resumed, and then does."""
    program = launch(SAMPLING)
    program.expect("sampling")
    [sidecar] = program.sidecars()
    sidecar.suspend()
    wait_until(lambda: sidecar.status() == psutil.STATUS_STOPPED)
    program.process.kill()
    program.wait()
    sidecar.resume()
    program.assert_nothing_left()


ENDS = """
client = connect()
futures = [ask(client, number) for number in range(100)]
say("sampling")
go_on()
"""


def test_a_program_that_ends_while_its_sidecar_is_stopped(launch: Launch) -> None:
    """It does not wait for it to be resumed."""
    program = launch(ENDS)
    program.expect("sampling")
    program.sidecars()[0].suspend()
    program.go_on()

    program.assert_ends_well()


def pause(pids: Iterable[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(PAUSE)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
