"""Processes of one user find each other's sidecar, whoever comes first."""

from __future__ import annotations

import os

import pytest

from tests.shared.conftest import Place, Start, StartServer
from tinker_client import ServiceClient, TinkerError
from tinker_client.local_server import LocalServer


def test_all_have_one(place: Place, start: Start, sim_server: LocalServer) -> None:
    programs = [start(sim_server) for _ in range(5)]  # They come at once.
    for number, program in enumerate(programs):
        program.ready().tell(f"submit {100 * number} 20")
    for program in programs:
        assert program.hear() == "20"
        assert program.do("wait") == "20"
    pids = {program.do("pid") for program in programs}
    assert pids == {str(place.the_sidecar().pid)}
    assert "through a shared sidecar" in programs[0].do("status")


def test_it_belongs_to_nobody_and_keeps_no_secret(
    place: Place, start: Start, sim_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINKER_API_KEY", "tml-secret")
    monkeypatch.setenv("SOME_TOKEN", "secret")
    program = start(sim_server, "tml-secret").ready()
    assert program.do("submit 0 5") == "5"
    assert program.do("wait") == "5"
    sidecar = place.the_sidecar()
    assert sidecar.ppid() not in (program.pid, os.getpid())
    assert os.getsid(sidecar.pid) not in (os.getsid(program.pid), sidecar.pid)
    assert sidecar.cwd() == "/"
    assert "secret" not in str(sidecar.environ()) + str(sidecar.cmdline())
    [folder] = place.folders()
    for path in (folder, *folder.rglob("*")):
        assert path.is_socket() or not path.is_file() or "secret" not in path.read_text()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_it_outlives_who_started_it(place: Place, start: Start, start_server: StartServer) -> None:
    server = start_server("--latency=0.5")
    first = start(server).ready()
    second = start(server).ready()
    sidecar = place.the_sidecar()
    second.do("submit 0 20")
    first.process.kill()
    assert second.do("wait") == "20"
    assert second.do("restarts") == "0"
    assert place.the_sidecar() == sidecar


def test_groups_have_one_each(
    place: Place, start: Start, sim_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = []
    for group in ("one", "two", "one"):
        monkeypatch.setenv("TINKER_SIDECAR_GROUP", group)
        programs.append(start(sim_server).ready())
    first, second, third = [program.do("pid") for program in programs]
    assert first == third != second


@pytest.mark.parametrize("group", ["a/b", "..", "-x", "ä", "x" * 25, "a b"])
def test_a_group_that_is_no_name(place: Place, monkeypatch: pytest.MonkeyPatch, group: str) -> None:
    monkeypatch.setenv("TINKER_SIDECAR_GROUP", group)
    for asked in ("shared", None):  # By the argument, and by the environment.
        with pytest.raises(TinkerError, match=r"^TINKER_SIDECAR_GROUP must be up to 24"):
            ServiceClient(base_url="http://127.0.0.1:1", api_key="tml-tests", subprocess_sampling=asked)


def test_a_socket_that_a_dead_one_left(place: Place, start: Start, sim_server: LocalServer) -> None:
    start(sim_server).ready()
    dead = place.the_sidecar()
    start_of_next = start(sim_server).ready()
    dead.kill()
    third = start(sim_server).ready()
    assert third.do("pid") == start_of_next.do("pid") == str(place.the_sidecar().pid)
