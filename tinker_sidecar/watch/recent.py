"""How much a sum has grown lately."""

from __future__ import annotations

from collections import deque

__all__ = ["RecentGrowth"]


class RecentGrowth:
    """By how much something that only grows has grown within the last `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._marks: deque[tuple[float, float]] = deque()
        """When it was how much, the oldest first; all but the first are within the last `seconds`."""

    def at(self, now: float, amount: float) -> float:
        """It is `amount` now. By how much it has grown lately."""
        self._marks.append((now, amount))
        while len(self._marks) > 1 and self._marks[1][0] <= now - self._seconds:
            self._marks.popleft()
        return amount - self._marks[0][1]

    def forget(self) -> None:
        """Only what comes from now on counts."""
        self._marks.clear()
