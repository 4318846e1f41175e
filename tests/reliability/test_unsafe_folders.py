"""Temporary folders in which others can do as they like: the sidecar's sockets are not put there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.reliability.programs import Launch

SAMPLE = """
sample(connect(), range(10))
say("sampled")
go_on()
"""


def folders_while_sampling(launch: Launch, parent: Path) -> list[Path]:
    """The sockets' folders in `parent`, the temporary one of a program that samples."""
    program = launch(SAMPLE, variables={"TMPDIR": str(parent)})
    program.expect("sampled")
    found = list(parent.glob("tinker-sidecar-*"))
    program.go_on()
    program.assert_ends_well()
    return found


@pytest.mark.parametrize("mode", [0o777, 0o770], ids=["by all", "by a group"])
def test_one_that_can_be_written_to(launch: Launch, temporary: Path, mode: int) -> None:
    folder = temporary / "open"
    folder.mkdir()
    folder.chmod(mode)
    assert folders_while_sampling(launch, folder) == []

    folder.chmod(mode | 0o1000)  # As /tmp is: others can add to it, and not change what is there.
    assert len(folders_while_sampling(launch, folder)) == 1


@pytest.mark.parametrize("reached", ["", "link"], ids=["as it is", "through a link"])
def test_one_within_such_a_folder(launch: Launch, temporary: Path, reached: str) -> None:
    own = temporary / "open" / "own"
    own.mkdir(parents=True)
    own.parent.chmod(0o777)
    own.chmod(0o700)
    (temporary / "link").symlink_to(own)
    assert folders_while_sampling(launch, temporary / reached if reached else own) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_one_that_is_another_users(launch: Launch, temporary: Path) -> None:
    folder = temporary / "another's"
    folder.mkdir(mode=0o755)
    os.chown(folder, 12345, 12345)
    assert folders_while_sampling(launch, folder) == []


# What looks as if a sidecar had left it.


def test_nothing_else_is_swept_away(launch: Launch, temporary: Path) -> None:
    (precious := temporary / "precious").mkdir()
    (precious / "log").touch()
    (temporary / "tinker-sidecar-link").symlink_to(precious)
    (temporary / "tinker-sidecar-file").touch()
    (fifo := temporary / "tinker-sidecar-fifo").mkdir()
    os.mkfifo(fifo / "log")  # Whoever opened it to write would wait for a reader.
    (linked := temporary / "tinker-sidecar-linked").mkdir()
    (linked / "log").symlink_to(precious / "log")
    (left := temporary / "tinker-sidecar-left").mkdir()
    (left / "log").touch()
    for path in temporary.iterdir():
        os.utime(path, (0, 0), follow_symlinks=False)
    program = launch(SAMPLE)
    program.expect("sampled")
    program.go_on()
    assert program.wait().status == 0

    assert (precious / "log").exists()
    assert sorted(path.name for path in temporary.glob("tinker-sidecar-*")) == [
        "tinker-sidecar-fifo",
        "tinker-sidecar-file",
        "tinker-sidecar-link",
        "tinker-sidecar-linked",
    ]
