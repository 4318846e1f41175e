"""How many short requests to have open at once."""

from __future__ import annotations

from time import monotonic

from tinker_sidecar.engine.limits import Budget

__all__ = ["Pace"]


class Pace:
    """Opens no more requests at once than it takes to keep a server busy.

    By Little's law a rate needs as many open requests as it has arrivals during one answer: a few where
    a server is near, hundreds across an ocean. More only cost: each open request has a connection
    of its own in HTTP/1, and twice the CPU once there are hundreds. The fastest of the latest answers
    stands for the distance; one that is slower than that has waited, here or there.
    """

    _RATE = 10_000.0
    _LEAST, _MOST = 16, 400
    _WINDOW = 256

    def __init__(self) -> None:
        self._slots = Budget(self._MOST)
        self._fastest = float("inf")
        self._seen = 0

    async def enter(self) -> float:
        """Wait for a turn; returns when it came, for `leave`."""
        await self._slots.take(1)
        return monotonic()

    def leave(self, entered: float) -> None:
        self._fastest = min(self._fastest, monotonic() - entered)
        self._seen += 1
        if self._seen == self._WINDOW:
            self._slots.size = min(self._MOST, max(self._LEAST, round(self._RATE * self._fastest)))
            self._fastest, self._seen = float("inf"), 0
        self._slots.give_back(1)
