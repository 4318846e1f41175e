"""Something to be looked at later, by many, with one timer for all of them."""

from __future__ import annotations

import asyncio
import math
from time import monotonic
from typing import Protocol

__all__ = ["Reminders"]

_AT_ONCE = 0.05
"""Seconds within which several are reminded together."""


class _Reminded(Protocol):
    def look(self) -> None: ...


class Reminders:
    """Has each that asked for it `look` when that is due.

    A timer for each would take longer to set than what it is for.
    """

    def __init__(self) -> None:
        self._due: dict[_Reminded, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = math.inf

    def remind(self, it: _Reminded, due: float) -> None:
        """Have `it` look at `due`, by `monotonic`, or a moment later; not at one that it named before."""
        self._due[it] = due
        if due < self._rings_at:
            self._ring_at(due)

    def drop(self, it: _Reminded) -> None:
        """`it` need not look any more."""
        self._due.pop(it, None)
        if not self._due:
            self._ring_at(math.inf)

    def _ring_at(self, due: float) -> None:
        self._rings_at = due
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due < math.inf:
            delay = max(_AT_ONCE, due - monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self._ring)

    def _ring(self) -> None:
        now = monotonic()
        reminded = [it for it, due in self._due.items() if due <= now]
        try:
            for it in reminded:
                if self._due.pop(it, None) is not None:
                    it.look()
        finally:  # Whatever one of them raises, the others are reminded.
            self._ring_at(min(self._due.values(), default=math.inf))
