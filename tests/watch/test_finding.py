"""Which sidecars are found: this user's, alive, wherever their folders are; and nothing else."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from pathlib import Path

import pytest

from tests.watch.conftest import StandIns
from tinker_sidecar.watch.finding import SILENT, Seen, ask_all, sidecars
from tinker_sidecar.watch.questions import ABOUT, SOCKET

NOBODY = 65534


@pytest.fixture(autouse=True)
def _looks_there(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the stand-ins have their folders."""
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))


def seen(pid: int) -> Seen | None:
    return next((one for one in asyncio.run(ask_all()) if one.about.pid == pid), None)


def test_two_are_found(stand_in: StandIns) -> None:
    first, second = stand_in(), stand_in()
    found = [one.about.pid for one in asyncio.run(ask_all())]
    assert {first.pid, second.pid} <= set(found)
    assert found == sorted(found)


@pytest.mark.skipif(
    os.environ.get("TINKER_SIDECAR_PORTABLE") == "1",
    reason="the portable twin looks in the usual places only",
)
def test_one_with_another_folder_for_temporary_files(stand_in: StandIns) -> None:
    """As the programs of a batch system have: Linux knows where its socket is."""
    with tempfile.TemporaryDirectory(prefix="o-", dir="/var/tmp") as elsewhere:
        other = stand_in(place=Path(elsewhere))
        assert other.folder in sidecars()
        assert seen(other.pid) is not None


def test_one_that_is_dead_is_not_shown(stand_in: StandIns) -> None:
    one = stand_in()
    one.end()
    assert (one.folder / SOCKET).exists()
    assert seen(one.pid) is None


def test_one_that_is_about_to_start_is_not_shown(temporary: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="tinker-sidecar-", dir=temporary))
    assert folder not in sidecars()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_that_of_another_user_is_passed_over(stand_in: StandIns) -> None:
    one = stand_in()
    os.chown(one.folder, NOBODY, NOBODY)
    assert one.folder not in sidecars()
    os.chown(one.folder, 0, 0)
    assert one.folder in sidecars()


def test_a_link_to_a_folder_is_passed_over(stand_in: StandIns, temporary: Path) -> None:
    one = stand_in()
    link = temporary / "tinker-sidecar-link"
    link.symlink_to(one.folder)
    assert link not in sidecars()


@pytest.mark.timeout(10)
@pytest.mark.parametrize("what", ["a pipe", "a folder", "a link", "nonsense"])
def test_what_lies_there_by_such_a_name_blocks_nobody(stand_in: StandIns, what: str) -> None:
    one = stand_in()
    about = one.folder / ABOUT
    kept = about.rename(one.folder / "kept")
    if what == "a pipe":
        os.mkfifo(about)
    elif what == "a folder":
        about.mkdir()
    elif what == "a link":
        about.symlink_to(kept)
    else:
        about.write_bytes(b"\xff{")
    assert one.folder not in sidecars()


def test_one_that_is_stopped_does_not_answer_however_often_it_is_asked(stand_in: StandIns) -> None:
    """Questions that nobody takes queue up with the system, which takes some hundred of them."""
    stopped, other = stand_in(), stand_in()
    stopped.stop()
    for _ in range(2):
        found = seen(stopped.pid)
        assert found is not None
        assert found.problem == SILENT
    fill(stopped.folder)
    found = seen(stopped.pid)
    assert found is not None
    assert found.problem == SILENT
    answering = seen(other.pid)
    assert answering is not None
    assert answering.stats is not None

    stopped.go_on()
    again = seen(stopped.pid)
    assert again is not None


def fill(folder: Path) -> None:
    """Leave so many questions there that no further one is taken."""
    for _ in range(1000):
        with socket.socket(socket.AF_UNIX) as asker:
            asker.setblocking(False)
            try:
                asker.connect(str(folder / SOCKET))
            except BlockingIOError:
                return
    raise AssertionError("more questions than any system keeps")


def test_one_that_speaks_otherwise(stand_in: StandIns) -> None:
    """As an older or newer version may."""
    one = stand_in()

    async def serve() -> Seen | None:
        (one.folder / SOCKET).unlink()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(b'{"stats": {}}\n')
            writer.close()

        async with await asyncio.start_unix_server(answer, one.folder / SOCKET):
            return next(seen for seen in await ask_all() if seen.about.pid == one.pid)

    found = asyncio.run(serve())
    assert found is not None
    assert "this version does not understand" in found.problem
