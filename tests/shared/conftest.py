"""Programs that share a sidecar, in a place of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psutil
import pytest

from tests.connection import Connection
from tests.sidecars import SHARED, sidecars_in
from tests.waiting import wait_until
from tinker_client.local_server import LocalServer, start_local_server
from tinker_sidecar.ipc.shared import ATTACH, SHARED_PREFIX

__all__ = ["Place", "Program", "Start", "StartServer"]

ROOT = Path(__file__).parents[2]


class Program:
    """A `worker`, which shares a sidecar.

    `before` is code that it runs first, `by` a command that runs it.
    """

    def __init__(self, *arguments: str, before: str = "", by: tuple[str, ...] = ()) -> None:
        command = [sys.executable, "-m", "tests.shared.worker", *arguments]
        if before:
            code = f"{before}\nfrom tests.shared.worker import main\nmain()"
            command[1:3] = ["-c", code]
        self.process = subprocess.Popen(
            [*by, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.pid = self.process.pid

    def ready(self) -> Program:
        """Wait until it has a client."""
        assert self.hear() == "ready"
        return self

    def tell(self, command: str) -> None:
        """Have it do something."""
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        """What it says next. It fails with what went wrong if it has died instead."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, self.errors()
        return line

    def do(self, command: str) -> str:
        """What it says when it has done something."""
        self.tell(command)
        return self.hear()

    def errors(self) -> str:
        """All that it has said on stderr, once it has ended."""
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def leave(self) -> str:
        """Have it end in good order; returns what it has said on stderr."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(20)
        return self.errors()

    def end(self) -> None:
        """Whatever it does."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                continue


class Place:
    """Where the programs of a test meet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def folders(self) -> list[Path]:
        """The folders of shared sidecars."""
        return sorted(self.path.glob(f"{SHARED_PREFIX}*"))

    def starting(self) -> list[psutil.Process]:
        """Those that run while nobody may attach yet."""
        return [] if any(self.path.glob(f"{SHARED_PREFIX}*/{ATTACH}")) else self.sidecars()

    def sidecars(self) -> list[psutil.Process]:
        """Those that run."""
        return sidecars_in(self.path, SHARED)

    def kill_too_often(self, programs: list[Program]) -> None:
        """Until each has a sidecar of its own. Each has a request under way, also in the end."""
        while sidecars := self.sidecars():
            for sidecar in sidecars:
                sidecar.kill()
            for program in programs:
                assert program.do("wait") in ("1", "0")
                assert program.do("pid")  # Which the next one tells.
                program.do("submit 0 1")

    def the_sidecar(self) -> psutil.Process:
        """The only one."""
        [only] = self.sidecars()
        return only


@pytest.fixture
def place(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("TINKER_SIDECAR_LINGER", "0.3")
    monkeypatch.setenv("TINKER_SUBPROCESS_SAMPLING", "shared")
    place = Place(temporary)
    yield place
    for sidecar in place.sidecars():
        sidecar.send_signal(signal.SIGCONT)
    wait_until(lambda: not place.sidecars() and not place.folders(), show=place.folders)


StartServer = Callable[..., LocalServer]
Start = Callable[..., Program]


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    with ExitStack() as stack:
        yield lambda *options: stack.enter_context(closing(start_local_server("sim", *options)))


@pytest.fixture
def start(place: Place) -> Iterator[Start]:
    """Start a program with a client of its own, or a copy of one that is pickled."""
    with ExitStack() as stack:

        def start(
            server: LocalServer,
            key: str = "tml-tests",
            pickled: str = "",
            before: str = "",
            by: tuple[str, ...] = (),
        ) -> Program:
            program = Program(server.base_url, key, *filter(None, [pickled]), before=before, by=by)
            stack.callback(program.end)
            return program

        yield start


def connection_of(server: LocalServer) -> Connection:
    """To ask the server what it has seen."""
    return Connection(server.base_url, None, None)  # type: ignore[arg-type]  # Nothing is sampled by it.
