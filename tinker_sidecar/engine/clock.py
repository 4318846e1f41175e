"""Whether the engine's thread has just come late, since the program held the GIL."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from time import monotonic

__all__ = ["Clock"]


class Clock:
    """For an engine in the program's own process, which shares its GIL.

    It looks every few milliseconds while `is_busy()`. If a look comes late, the GIL was held elsewhere: what
    seems to have taken that long was there before. `on_late` hears how late it was.
    """

    _EVERY = 0.01
    _GRACE = 0.005
    """Seconds that any thread may be late."""
    _HOLD = 0.5
    """Seconds of lateness that are no competition of threads: somebody holds the GIL."""
    _TURN = 0.1
    """Seconds between two holds that are one: the engine has a turn of 5 ms in between, too short."""

    def __init__(self, on_late: Callable[[float], None], is_busy: Callable[[], bool]) -> None:
        self._on_late = on_late
        self._is_busy = is_busy
        self._due = math.inf
        """When it looks next."""
        self._hold = self._last = (0.0, 0.0)
        """From when to when somebody held the GIL last, and from when to when the engine was late last."""
        self._over = 0.0
        """When all that came meanwhile has been dealt with."""

    def lateness(self, since: float, now: float) -> float:
        """How much of the time from `since` until `now` was likely spent on the wait for the GIL.

        Once the GIL is there, all that has come meanwhile is dealt with, which takes a while, too.
        """
        if now > self._due + self._GRACE:
            self._came_late(now)
        if now > self._over:
            return 0.0
        return max(_share_of(self._hold, since, now), _share_of(self._last, since, now))

    def start(self) -> None:
        """There is something to do, and it matters how late it is done."""
        if self._due == math.inf:
            self._look_again()

    def _came_late(self, now: float) -> None:
        began, lateness = self._due, now - self._due
        self._last = began, now
        if lateness >= self._HOLD:
            goes_on = began - self._hold[1] <= self._TURN
            self._hold = (self._hold[0] if goes_on else began), now
        self._over = max(_over(self._hold), _over(self._last))
        self._due = now + self._EVERY
        self._on_late(lateness)

    def _look(self) -> None:
        if (now := monotonic()) > self._due + self._GRACE:
            self._came_late(now)
        if self._is_busy():
            self._look_again()
        else:
            self._due = math.inf

    def _look_again(self) -> None:
        self._due = monotonic() + self._EVERY
        asyncio.get_running_loop().call_later(self._EVERY, self._look)


def _share_of(wait: tuple[float, float], since: float, now: float) -> float:
    """How much of the time from `since` until `now` was part of `wait`, or of what had to be done then."""
    began, ended = wait
    if since >= ended or now > _over(wait):
        return 0.0
    return min(ended - began, now - since)


def _over(wait: tuple[float, float]) -> float:
    """To deal with what has come during `wait` may take as long again."""
    began, ended = wait
    return ended + (ended - began)
