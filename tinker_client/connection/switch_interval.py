"""A shorter turn for each thread while requests are in flight, for those who want it."""

from __future__ import annotations

import sys

__all__ = ["SwitchInterval"]


class SwitchInterval:
    """Sets the interpreter's switch interval to `seconds` while busy, and back afterwards.

    Each thread that wants the GIL waits up to one interval for every other one, 5 ms unless changed. A
    shorter one brings results sooner and costs every thread more switches. None: leaves it alone.
    """

    def __init__(self) -> None:
        self.seconds: float | None = None
        self._before: float | None = None

    def adjust(self, *, busy: bool) -> None:
        """Not safe for threads: the backend has a lock."""
        if busy == (self._before is not None) or (busy and self.seconds is None):
            return
        if busy and self.seconds is not None:
            self._before = sys.getswitchinterval()
            sys.setswitchinterval(self.seconds)
        elif self._before is not None:
            sys.setswitchinterval(self._before)
            self._before = None
