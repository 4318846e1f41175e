"""Many programs that sample at once with copies of one client, and what their sidecars take.

`python -m harness.crowd` is one of them: it does what it is told, a line of JSON each.
"""

from __future__ import annotations

import json
import os
import pickle
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil

__all__ = ["Program", "SidecarsHeld", "environment_of", "held_by_sidecars", "programs", "sidecars"]

_SIDECARS = ("tinker_sidecar", "tinker_sidecar.hub")


class Program:
    """One of the programs, in another process."""

    def __init__(self, environment: dict[str, str], pickled: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "harness.crowd"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
            env=os.environ | environment,
        )
        self.pid = self._process.pid
        self._write(pickled)

    def tell(self, task: str, **settings: Any) -> None:
        """Have it do something."""
        self._write(json.dumps({"task": task, **settings}))

    def hear(self) -> Any:
        """What has come of it."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a program of the crowd has ended")
        return json.loads(line)

    def ask(self, task: str, **settings: Any) -> Any:
        """Both."""
        self.tell(task, **settings)
        return self.hear()

    def dismiss(self) -> None:
        """It ends, once it has done what it was told."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def end(self) -> None:
        """Whatever it does."""
        assert self._process.stdout is not None
        self.dismiss()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


def environment_of(url: str, folder: str, sampling: str) -> dict[str, str]:
    """The variables of a program whose sidecar's sockets are in `folder`."""
    return {
        "TMPDIR": folder,
        "TINKER_BASE_URL": url,
        "TINKER_API_KEY": "tml-benchmark",
        "TINKER_SUBPROCESS_SAMPLING": sampling,
        "TINKER_SIDECAR_LINGER": "1",
        "XDG_RUNTIME_DIR": "",
    }


@contextmanager
def programs(count: int, url: str, folder: str, sampling: str) -> Iterator[list[Program]]:
    """So many, each with a copy of one client, once each has sampled. Their sidecars meet in `folder`."""
    environment = environment_of(url, folder, sampling)
    with ExitStack() as stack:
        original = Program(environment, "")
        stack.callback(original.end)
        pickled = original.ask("pickle")
        crowd = [original]
        for _ in range(count - 1):
            crowd.append(Program(environment, pickled))
            stack.callback(crowd[-1].end)
        for program in crowd:
            program.tell("loop", in_flight=1, seconds=0.1)
        for program in crowd:
            program.hear()
        yield crowd
        for program in crowd:
            program.dismiss()


class SidecarsHeld(NamedTuple):
    """By all sidecars of a crowd."""

    processes: int
    pss_mb: float
    threads: int
    connections: int
    cpu_s: float


def held_by_sidecars(folder: str) -> SidecarsHeld:
    """What those have whose temporary folder is `folder`. PSS shares what processes have in common."""
    found = sidecars(folder)
    return SidecarsHeld(
        processes=len(found),
        pss_mb=sum(process.memory_full_info().pss for process in found) / 1e6,
        threads=sum(process.num_threads() for process in found),
        connections=sum(len(process.net_connections("tcp")) for process in found),
        cpu_s=sum(sum(process.cpu_times()[:2]) for process in found),
    )


def sidecars(folder: str) -> list[psutil.Process]:
    """Those of a crowd."""
    return [process for process in psutil.process_iter() if _is_sidecar(process, folder)]


def _is_sidecar(process: psutil.Process, folder: str) -> bool:
    try:
        is_one = process.cmdline()[-1:] in ([name] for name in _SIDECARS)
        return is_one and process.environ().get("TMPDIR") == folder
    except psutil.Error:
        return False


def main() -> None:
    from tinker_client import ServiceClient, types

    pickled = sys.stdin.readline().strip()
    started = time.monotonic()
    if pickled:
        client = pickle.loads(bytes.fromhex(pickled))  # Of the benchmark's own making.
    else:
        client = ServiceClient().create_sampling_client(base_model="tinker-sidecar/sim")
    params = types.SamplingParams(max_tokens=16)
    prompt = types.ModelInput.from_ints(range(128))

    def sample() -> Any:
        return client.sample(prompt, 1, params)

    def loop(in_flight: int, seconds: float) -> dict[str, float]:
        """Keep so many in flight for so long."""
        begin = time.monotonic()
        end = begin + seconds
        pending = [(time.monotonic(), sample()) for _ in range(in_flight)]
        latencies, last = [], time.monotonic()
        longest = 0.0
        while pending:
            begun, future = pending.pop(0)
            future.result()
            now = time.monotonic()
            longest, last = max(longest, now - last), now
            latencies.append(now - begun)
            if now < end:
                pending.append((now, sample()))
        return {
            "samples": len(latencies),
            "seconds": last - begin,
            "p50_s": statistics.median(latencies),
            "longest_gap_s": longest,
        }

    for line in sys.stdin:
        asked = json.loads(line)
        task = asked.pop("task")
        if task == "pickle":
            client.result()
            answer: Any = pickle.dumps(client).hex()
        elif task == "first":
            sample().result()
            answer = time.monotonic() - started
        else:
            answer = loop(**asked)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
