"""How often a host that keeps dying is replaced."""

from __future__ import annotations

from collections import deque
from time import monotonic

__all__ = ["Restarts"]


class Restarts:
    """Allows five restarts a minute, each after a longer pause than the one before.

    There is one before the first, too: what killed a sidecar may be about to kill this process as well, as
    Ray and a container's end do, and one that is half started then would leave its folder behind.
    """

    MOST = 5
    WITHIN = 60.0
    _FIRST_PAUSE = 0.1

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def count_one(self) -> float | None:
        """Count one more; returns the seconds to wait before it, None when there were too many."""
        now = monotonic()
        while self._times and now - self._times[0] > self.WITHIN:
            self._times.popleft()
        count = len(self._times)
        if count == self.MOST:
            return None
        self._times.append(now)
        return self._FIRST_PAUSE * (1 << count)
