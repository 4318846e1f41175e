"""Graders: threads of pure Python without end, in the program or, as a control, in another process."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Self

__all__ = ["Hogs"]

_LAP = 10_000


class Hogs:
    """`count` threads that want the GIL all the time, from `with` on."""

    def __init__(self, count: int) -> None:
        self._laps = [0] * count
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._run, args=(index,), daemon=True) for index in range(count)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped = True
        for thread in self._threads:
            thread.join()

    @property
    def laps(self) -> int:
        """How much work they have done, together."""
        return sum(self._laps)

    def cpu_seconds(self) -> float:
        """The CPU time they have used, together."""
        clocks = [time.pthread_getcpuclockid(thread.ident) for thread in self._threads if thread.ident]
        return sum(map(time.clock_gettime, clocks))

    def pace(self, seconds: float) -> float:
        """Laps a second over the next `seconds`, in which nothing else should be going on."""
        if not self._threads:
            return 0.0
        laps, started = self.laps, time.perf_counter()
        time.sleep(seconds)
        return (self.laps - laps) / (time.perf_counter() - started)

    def _run(self, index: int) -> None:
        while not self._stopped:
            for _ in range(_LAP):
                pass
            self._laps[index] += 1


if __name__ == "__main__":
    with Hogs(int(sys.argv[1])):
        print("running", flush=True)
        sys.stdin.read()  # Ends with whoever started this.
