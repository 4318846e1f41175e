"""Something unsafe in the place of the shared sidecar's folder: each program has a sidecar of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.shared.conftest import Place, Start
from tests.waiting import wait_until
from tinker_client.local_server import LocalServer

NOBODY = 65534


def a_link(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir(0o700)
    folder.symlink_to(folder.parent / "elsewhere")


def a_file(folder: Path) -> None:
    folder.touch(0o700)


def one_of_another_user(folder: Path) -> None:
    folder.mkdir(0o700)
    os.chown(folder, NOBODY, NOBODY)


def one_that_others_may_enter(folder: Path) -> None:
    folder.mkdir(0o700)
    folder.chmod(0o711)


UNFIT: dict[str, tuple[Callable[[Path], None], str]] = {
    "a link": (a_link, "is not a folder of this user's"),
    "a file": (a_file, "is not a folder of this user's"),
    "another user's": (one_of_another_user, "is not a folder of this user's"),
    "open to others": (one_that_others_may_enter, "may be entered by others"),
}


@pytest.fixture
def folder(place: Place, start: Start, sim_server: LocalServer) -> Path:
    """Where the programs of this test would meet, and nothing is."""
    program = start(sim_server).ready()
    [folder] = place.folders()
    program.leave()
    wait_until(lambda: not place.sidecars())
    return folder


@pytest.mark.parametrize("required", [False, True], ids=["", "required"])
@pytest.mark.parametrize("kind", UNFIT)
def test_it(
    folder: Path,
    start: Start,
    sim_server: LocalServer,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    required: bool,
) -> None:
    if kind == "another user's" and os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    make, reason = UNFIT[kind]
    make(folder)
    try:
        monkeypatch.setenv("TINKER_SIDECAR_REQUIRE", str(int(required)))
        program = start(sim_server)
        if required:
            program.process.wait(30)
            assert f"{folder} {reason}" in program.errors()
            return
        program.ready()
        program.do("submit 0 5")
        assert program.do("wait") == "5"
        [line] = program.leave().splitlines()
        assert f"there can be no shared sidecar: {folder} {reason}" in line
    finally:
        (folder.rmdir if folder.is_dir() and not folder.is_symlink() else folder.unlink)()
