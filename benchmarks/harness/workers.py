"""A peer's process, as the benchmark sees it."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from harness.peers import Peer
from harness.runs import Figures

__all__ = ["Held", "Worker", "WorkerFailedError", "hogs_elsewhere", "start_worker", "worker_command"]

_FOLDER = Path(__file__).parents[1]
_ANSWER_TIMEOUT = 180.0
_LAST_WORDS = 2000


class Held(NamedTuple):
    """What a program and its sidecar have of the machine at one time."""

    descriptors: int
    threads: int
    memory_mb: float


class WorkerFailedError(Exception):
    """The program died or did not answer in time."""


class Worker:
    """A process of `harness.worker` in the peer's environment. Do not construct it: see `start_worker`."""

    def __init__(self, peer: Peer, base_url: str, model: str, variables: Mapping[str, str]) -> None:
        self._peer = peer
        self._environment = peer.environment(base_url, model) | variables
        self._start()

    def _start(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        command, folder = worker_command(self._peer, "harness.worker", self._peer.module)
        command[1:1] = self._peer.launcher
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        self._ps = psutil.Process(self._process.pid)

    def ask(self, task: str, **settings: Any) -> Figures:
        """Have the worker do `task`, and get its figures.

        Raises
        ------
        WorkerFailedError
            The message has the worker's last words. A new process has taken its place.
        """
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # It died: reading says more.
            process.stdin.write(json.dumps({"task": task, **settings}).encode() + b"\n")
            process.stdin.flush()
        if not select.select([process.stdout], [], [], _ANSWER_TIMEOUT)[0]:
            raise self._failure(f"did not answer within {_ANSWER_TIMEOUT:g} s")
        answer = process.stdout.readline()
        if not answer:
            raise self._failure("died")
        figures: Figures = json.loads(answer)
        return figures

    def memory(self) -> tuple[float, float]:
        """MB resident now: of the program, and of its sidecar."""
        return _resident(self._ps), sum(map(_resident, self._sidecar()))

    def held(self) -> Held:
        """What the program and its sidecar have now, together."""
        processes = [self._ps, *self._sidecar()]
        return Held(
            sum(process.num_fds() for process in processes),
            sum(process.num_threads() for process in processes),
            sum(map(_resident, processes)),
        )

    def peak_memory(self) -> tuple[float, float]:
        """The most MB that were ever resident: of the program, and of its sidecar."""
        return _peak(self._process.pid), sum(_peak(process.pid) for process in self._sidecar())

    def close(self) -> None:
        sidecar = self._sidecar()
        self._process.kill()
        self._process.communicate()
        self._errors.close()
        # It notices by itself, sooner or later; the next measurement should not see it do so.
        _, alive = psutil.wait_procs(sidecar, timeout=1)
        for process in alive:
            process.kill()

    def _sidecar(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return list(self._ps.children(recursive=True))
        return []

    def _failure(self, how: str) -> WorkerFailedError:
        self._errors.seek(max(0, self._errors.seek(0, 2) - _LAST_WORDS))
        words = self._errors.read().decode(errors="replace").strip()
        self.close()
        self._start()
        return WorkerFailedError(f"{self._peer.name} {how}: {words}")


def worker_command(peer: Peer, module: str, *arguments: str) -> tuple[list[str], Path]:
    """What runs a module of `harness` on the peer's Python, and the folder to run it in."""
    return [peer.python, "-W", "ignore", "-m", module, *arguments], _FOLDER


def start_worker(
    peer: Peer, base_url: str, model: str, variables: Mapping[str, str] | None = None
) -> closing[Worker]:
    """A context manager with a new process for `peer`, which has `variables` in its environment."""
    return closing(Worker(peer, base_url, model, variables or {}))


@contextmanager
def hogs_elsewhere(peer: Peer, count: int) -> Iterator[None]:
    """`count` hogs on the same Python, sharing the machine with the program but not its GIL."""
    command, folder = worker_command(peer, "harness.worker.hogs", str(count))
    process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.communicate()


def _resident(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 1e6


def _peak(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    [peak] = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(peak) * 1024 / 1e6
