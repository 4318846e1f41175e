"""A shared sidecar that dies is replaced by one, and nothing is lost or asked twice."""

from __future__ import annotations

import os
import shutil
import signal

import pytest

from tests.shared.conftest import Place, Start, StartServer, connection_of
from tests.waiting import wait_until
from tinker_client.local_server import LocalServer

PROGRAMS, REQUESTS = 8, 60


def test_it_is_killed_again_and_again(place: Place, start: Start, start_server: StartServer) -> None:
    server = start_server("--latency=1")
    first = start(server).ready()
    copy = first.do("pickle")
    programs = [first, *(start(server, pickled=copy) for _ in range(PROGRAMS - 1))]
    for program in programs[1:]:
        program.ready()
    connection = connection_of(server)
    for time in range(3):
        for program in programs:
            assert program.do(f"submit {time * REQUESTS} {REQUESTS}") == str(REQUESTS)
        wait_until(lambda: connection.submitted == (time + 1) * PROGRAMS * REQUESTS)  # noqa: B023
        place.the_sidecar().kill()
        for program in programs:
            program.tell("wait")
        for program in programs:
            assert program.hear() == str(REQUESTS)
        place.the_sidecar()
    assert connection.submitted == 3 * PROGRAMS * REQUESTS
    assert {program.do("restarts") for program in programs} == {"3"}


STILLBORN = """
import os, signal, time
from tinker_client.connection import sidecar

class Stillborn(sidecar.SidecarHost):
    "The first to be made is dead before anybody has it."

    def __init__(self, backend, process):
        super().__init__(backend, process)
        sidecar.SidecarHost = Stillborn.__base__
        os.kill(process.pid, signal.SIGKILL)
        self._channel._thread.join()

sidecar.SidecarHost = Stillborn
"""


@pytest.mark.parametrize("sampling", ["shared", "1"], ids=["shared", "its own"])
def test_it_is_killed_in_the_moment_in_which_it_has_started(
    place: Place, start: Start, sim_server: LocalServer, monkeypatch: pytest.MonkeyPatch, sampling: str
) -> None:
    monkeypatch.setenv("TINKER_SUBPROCESS_SAMPLING", sampling)
    program = start(sim_server, before=STILLBORN).ready()
    program.do("submit 0 5")
    assert program.do("wait") == "5"


def test_it_is_asked_to_end(place: Place, start: Start, start_server: StartServer) -> None:
    """As by an administrator: others go on, in another."""
    server = start_server("--latency=1")
    programs = [start(server).ready() for _ in range(2)]
    for program in programs:
        program.do("submit 0 20")
    asked = place.the_sidecar()
    asked.send_signal(signal.SIGTERM)
    for program in programs:
        assert program.do("wait") == "20"
    assert place.the_sidecar() != asked


def test_somebody_removes_its_socket(place: Place, start: Start, start_server: StartServer) -> None:
    program = start(start_server("--latency=0.1")).ready()
    sidecar = place.the_sidecar()
    [folder] = place.folders()
    (folder / "attach").unlink()
    wait_until(lambda: sidecar not in place.sidecars())
    program.do("submit 0 5")
    assert program.do("wait") == "5"


def test_it_dies_too_often(place: Place, start: Start, start_server: StartServer) -> None:
    """Everybody has a sidecar of their own from then on, and says so."""
    programs = [start(start_server("--latency=0.1")).ready() for _ in range(2)]
    for program in programs:
        program.do("submit 0 1")
    place.kill_too_often(programs)
    for program in programs:
        assert program.do("wait") == "1"
        assert "through the sidecar" in program.do("status")
        said = program.leave()
        assert said.count("there can be no shared sidecar: ") == 1
        assert "have died within a minute" in said
    [folder] = place.folders()  # It is removed by whoever starts a sidecar a minute later.
    shutil.rmtree(folder)


@pytest.mark.parametrize("required", [True, False])
def test_a_folder_that_others_may_enter(
    place: Place,
    start: Start,
    start_server: StartServer,
    monkeypatch: pytest.MonkeyPatch,
    required: bool,
) -> None:
    server = start_server()
    start(server).ready().leave()
    wait_until(lambda: not place.sidecars())
    monkeypatch.setenv("TINKER_SIDECAR_LINGER", "20")
    start(server).ready()
    [folder] = place.folders()
    place.the_sidecar().kill()
    folder.chmod(0o755)
    monkeypatch.setenv("TINKER_SIDECAR_REQUIRE", "1" if required else "0")
    program = start(server)
    if required:
        program.process.wait(30)
        assert "may be entered by others" in program.errors()
    else:
        program.ready()
        program.do("submit 0 5")
        assert program.do("wait") == "5"
        assert "may be entered by others" in program.leave()
    shutil.rmtree(folder)


def test_a_folder_that_a_dead_one_left_is_removed_by_the_next_sidecar(
    place: Place, start: Start, sim_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINKER_SIDECAR_GROUP", "dead")
    doomed = start(sim_server).ready()
    place.the_sidecar().send_signal(signal.SIGSTOP)
    doomed.process.kill()
    place.the_sidecar().kill()
    [folder] = place.folders()
    os.utime(folder, (0, 0))
    monkeypatch.setenv("TINKER_SIDECAR_GROUP", "living")
    monkeypatch.setenv("TINKER_SUBPROCESS_SAMPLING", "1")
    start(sim_server).ready()
    assert not folder.exists()
