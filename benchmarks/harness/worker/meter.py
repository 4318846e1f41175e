"""What a stretch of the program costs."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.worker.hogs import Hogs

__all__ = ["Meter", "latency_figures", "percentile"]

_SOLO_SECONDS = 0.3


class Meter:
    """Measures what happens within `with`: seconds, CPU with neither hogs nor sidecar, the sidecar's CPU, and
    what the hogs got done.
    """

    def __init__(self, hogs: Hogs) -> None:
        self._hogs = hogs
        self._solo_pace = hogs.pace(_SOLO_SECONDS)

    def __enter__(self) -> Self:
        self._sidecar_cpu = _sidecar_cpu()
        self._laps = self._hogs.laps
        self._cpu = self._client_cpu()
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._started
        self.cpu_seconds = self._client_cpu() - self._cpu
        self._laps = self._hogs.laps - self._laps
        # Last: each file read gives up the GIL, and under hogs it takes a while to get it back.
        self.sidecar_cpu_seconds = _sidecar_cpu() - self._sidecar_cpu

    def figures(self, samples: int) -> dict[str, float | None]:
        """Per second and per sample, for `samples` samples; `grader_keeps` is None without hogs."""
        return {
            "seconds": self.seconds,
            "samples": samples,
            "samples_per_s": samples / self.seconds,
            "client_cpu_us": self.cpu_seconds / samples * 1e6,
            "sidecar_cpu_us": self.sidecar_cpu_seconds / samples * 1e6,
            "grader_keeps": self._laps / self.seconds / self._solo_pace if self._solo_pace else None,
        }

    def _client_cpu(self) -> float:
        return time.process_time() - self._hogs.cpu_seconds()


def _sidecar_cpu() -> float:
    """CPU seconds of this process's children."""
    children = [pid for task in Path("/proc/self/task").iterdir() for pid in _children(task)]
    return sum(map(_process_cpu, children))


def _children(task: Path) -> list[int]:
    try:
        return [int(pid) for pid in (task / "children").read_text().split()]
    except OSError:  # The thread has just ended.
        return []


def _process_cpu(pid: int) -> float:
    # What clock_getcpuclockid(3) makes of a pid on Linux; /proc/PID/stat counts in ticks of 10 ms.
    clock = (~pid << 3) | 2
    try:
        return time.clock_gettime(clock)
    except OSError:  # It has just ended.
        return 0.0


def percentile(values: list[float], percent: float) -> float:
    """The value that `percent` percent of `values` do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def latency_figures(latencies: list[float]) -> dict[str, float]:
    return {"p50_s": percentile(latencies, 50), "p99_s": percentile(latencies, 99)}
