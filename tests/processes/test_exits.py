"""How a process ended, in words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tinker_sidecar.processes.exits import end, how_it_ended, remove_folder

PATIENCE = 30.0


def python(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code])


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("status", [0, 1, 255])
def test_a_status(status: int) -> None:
    assert how_it_ended(python(f"raise SystemExit({status})"), PATIENCE) == f"exited with status {status}"


SIGNALS = {
    signal.SIGKILL: "SIGKILL",
    signal.SIGSEGV: "SIGSEGV",
    signal.SIGRTMIN: "SIGRTMIN",
    # Names that Python does not have, and `signal.Signals` raises for.
    signal.SIGRTMIN + 1: "signal 35 (SIGRTMIN+1)",
    signal.SIGRTMAX - 1: "signal 63 (SIGRTMIN+29)",
    signal.SIGRTMAX: "SIGRTMAX",
}


@pytest.mark.skipif(
    signal.SIGRTMIN != 34 or signal.SIGRTMAX != 64, reason="other numbers than Linux has with glibc"
)
@pytest.mark.parametrize(("number", "name"), SIGNALS.items(), ids=SIGNALS.values())
def test_a_signal(sleeper: subprocess.Popen[bytes], number: int, name: str) -> None:
    sleeper.send_signal(number)
    assert how_it_ended(sleeper, PATIENCE) == f"was killed by {name}"


def test_one_that_runs_on(sleeper: subprocess.Popen[bytes]) -> None:
    assert how_it_ended(sleeper, 0) is None


def test_a_status_that_is_lost() -> None:
    """To somebody else in this program, who waits for every child."""
    process = python("raise SystemExit(3)")
    os.waitpid(process.pid, 0)
    told = how_it_ended(process, PATIENCE)
    assert told is not None
    assert told.startswith("ended, its status lost")
    assert how_it_ended(process, 0) == told


def test_ending_twice(sleeper: subprocess.Popen[bytes]) -> None:
    end(sleeper, PATIENCE, signal.SIGINT)
    end(sleeper, PATIENCE, signal.SIGTERM)
    assert how_it_ended(sleeper, 0) == "was killed by SIGINT"


def test_ending_one_that_does_not(sleeper: subprocess.Popen[bytes]) -> None:
    end(sleeper, 0.1)
    assert how_it_ended(sleeper, 0) == "was killed by SIGKILL"


def test_removing_a_folder(tmp_path: Path) -> None:
    (folder := tmp_path / "folder").mkdir()
    (folder / "file").touch()
    remove_folder(str(folder))
    assert not folder.exists()
    remove_folder(str(folder))
