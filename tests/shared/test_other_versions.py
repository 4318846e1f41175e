"""Programs with different versions of this package, and an upgrade while a shared sidecar runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import tinker_client
import tinker_sidecar
from tests.shared.conftest import Place, Start
from tinker_client.local_server import LocalServer
from tinker_sidecar.ipc.shared import PROTOCOL


@pytest.fixture
def copy(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of this package, which programs find before all others."""
    copy = temporary / "installed"
    for package in (tinker_client, tinker_sidecar):
        [source] = package.__path__
        shutil.copytree(source, copy / package.__name__, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def before_all_others(copy: Path) -> str:
    """For a program that is to run this one."""
    return f"import sys; sys.path.insert(0, {str(copy)!r})"


def give_another_protocol(copy: Path) -> None:
    file = copy / "tinker_sidecar/ipc/shared.py"
    file.write_text(file.read_text().replace(f"PROTOCOL = {PROTOCOL}", f"PROTOCOL = {PROTOCOL + 1}"))


def test_another_protocol_has_a_sidecar_of_its_own_beside_it(
    copy: Path, place: Place, start: Start, sim_server: LocalServer
) -> None:
    give_another_protocol(copy)
    programs = [start(sim_server).ready(), start(sim_server, before=before_all_others(copy)).ready()]
    for program in programs:
        assert program.do("submit 0 5") == "5"
        assert program.do("wait") == "5"
        assert "through a shared sidecar" in program.do("status")
    assert len(place.folders()) == len(place.sidecars()) == 2


def test_another_protocol_on_the_disk_when_it_dies(
    copy: Path, place: Place, start: Start, sim_server: LocalServer
) -> None:
    """Nothing is misunderstood: the program goes on with a sidecar of its own."""
    program = start(sim_server, before=before_all_others(copy)).ready()
    give_another_protocol(copy)
    place.the_sidecar().kill()
    assert program.do("submit 0 5") == "5"
    assert program.do("wait") == "5"
    assert "through the sidecar" in program.do("status")
    assert "there can be no shared sidecar" in program.leave()
    [folder] = place.folders()  # It is removed by whoever starts a sidecar a minute later.
    shutil.rmtree(folder)


def test_an_upgrade_while_it_runs_does_no_harm(
    copy: Path,
    place: Place,
    start: Start,
    sim_server: LocalServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor does what nobody has asked of it before: it has read all its files by then."""
    first = start(sim_server, before=before_all_others(copy)).ready()
    pid = first.do("pid")
    for file in copy.rglob("*.py"):
        file.write_text("raise ImportError('upgraded')")
    monkeypatch.setenv("TINKER_SIDECAR_TRACE", str(tmp_path / "trace.json"))
    monkeypatch.setenv("TINKER_SIDECAR_RECORD", str(tmp_path / "recording"))
    monkeypatch.setenv("TINKER_SIDECAR_WHO", "1")
    second = start(sim_server).ready()
    for program in (first, second):
        assert program.do("submit 0 5") == "5"
        assert program.do("wait") == "5"
    assert pid == second.do("pid") == str(place.the_sidecar().pid)
    assert second.leave() == ""
    assert (tmp_path / "trace.json").exists()
