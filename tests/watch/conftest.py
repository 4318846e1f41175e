"""What shows where the time goes. The engine's own counting is tested elsewhere."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import psutil
import pytest

from tests.reliability.conftest import launch, slow_server
from tests.waiting import wait_until
from tests.watch.samples import BUSY
from tinker_sidecar.ipc.folders import FOLDER_PREFIX
from tinker_sidecar.ipc.stats import Stats

__all__ = ["StandIn", "StandIns", "launch", "slow_server"]


@pytest.fixture(autouse=True)
def _looks_at_who_holds_the_gil(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere nobody does: a busy machine would have a warning in the output of a program."""
    monkeypatch.delenv("TINKER_SIDECAR_WHO")


@pytest.fixture(autouse=True)
def _logs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process without an engine, though an earlier test may have had one here."""
    monkeypatch.setattr("tinker_sidecar.logs._run", lambda log: log())


class StandIn:
    """A process that is found as a sidecar is, and tells what it was given."""

    def __init__(self, folder: str, stats: Stats) -> None:
        self.folder = Path(folder)
        command = [sys.executable, "-m", "tests.watch.stand_in", folder, msgspec.json.encode(stats).decode()]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        )
        self.pid = self.process.pid

    def wait(self) -> None:
        """Until it can be asked."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: psutil.Process(self.pid).status() == psutil.STATUS_STOPPED)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


StandIns = Callable[..., StandIn]


@pytest.fixture
def stand_in(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIns]:
    """Start a `StandIn` that tells `stats`, its folder among the temporary files or in `place`."""
    monkeypatch.setenv("TMPDIR", str(temporary))
    with ExitStack() as stack:

        def start(stats: Stats = BUSY, place: Path = temporary) -> StandIn:
            folder = tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=place)
            one = StandIn(folder, stats)
            stack.callback(one.end)
            one.wait()
            return one

        yield start
