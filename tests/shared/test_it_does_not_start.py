"""A shared sidecar that dies or stops before anybody can attach: nobody waits for ever."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

from tests.shared.conftest import Place, Start
from tests.waiting import wait_until
from tinker_client.local_server import LocalServer

IMPATIENT = """
from tinker_client.connection import shared_sidecar
shared_sidecar._PATIENCE = 2.0
"""


@pytest.fixture
def half_started(place: Place) -> Iterator[list[psutil.Process]]:
    """Those that a test finds before they listen, which it has to do something with at once."""
    found: list[psutil.Process] = []
    yield found
    for process in found:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def catch(place: Place, half_started: list[psutil.Process], number: signal.Signals) -> None:
    """Wait for a sidecar that does not listen yet, and send it a signal."""
    wait_until(lambda: place.starting())
    half_started += place.starting()
    for process in half_started:
        process.send_signal(number)
    assert not [folder for folder in place.folders() if (folder / "attach").exists()]


def test_it_is_killed(
    place: Place, start: Start, sim_server: LocalServer, half_started: list[psutil.Process]
) -> None:
    """Who started it has an error, and who waited for it starts another."""
    unlucky = start(sim_server)
    catch(place, half_started, signal.SIGSTOP)
    waiting = start(sim_server)
    for process in half_started:
        process.kill()
    waiting.ready()
    unlucky.process.wait(30)
    assert "SidecarStartupError: the shared sidecar did not start" in unlucky.errors()
    assert waiting.do("submit 0 5") == "5"
    assert waiting.do("wait") == "5"
    place.the_sidecar()


def test_it_stops(
    place: Place, start: Start, sim_server: LocalServer, half_started: list[psutil.Process]
) -> None:
    """It is given up after a time, and does no harm when it goes on."""
    unlucky = start(sim_server, before=IMPATIENT)
    catch(place, half_started, signal.SIGSTOP)
    unlucky.process.wait(30)
    assert "SidecarStartupError: the shared sidecar was not ready within 2 s" in unlucky.errors()
    next_one = start(sim_server).ready()
    for process in half_started:
        if process.is_running():
            process.send_signal(signal.SIGCONT)
    for _ in range(3):
        next_one.do("submit 0 5")
        assert next_one.do("wait") == "5"


def test_it_stops_later(place: Place, start: Start, sim_server: LocalServer) -> None:
    """Who comes then does not wait for ever, and those that are attached go on with it."""
    attached = start(sim_server).ready()
    stopped = place.the_sidecar()
    stopped.send_signal(signal.SIGSTOP)
    later = start(sim_server, before=IMPATIENT).ready()
    assert "through the sidecar" in later.do("status")
    attached.do("submit 0 5")
    stopped.send_signal(signal.SIGCONT)
    assert attached.do("wait") == "5"
    assert attached.do("restarts") == "0"
    assert "does not answer. This process has one of its own" in later.leave()
