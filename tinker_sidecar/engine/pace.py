"""How many short requests to have open at once."""

from __future__ import annotations

from time import monotonic

from tinker_sidecar.engine.limits import Budget

__all__ = ["Pace"]


class Pace(Budget):
    """Opens no more requests at once than it takes to keep a server, and the way to it, busy.

    Each takes one unit, and is to `leave`.

    By Little's law a rate needs as many open requests as it has arrivals during one answer: a few where
    a server is near, hundreds across an ocean. Those few would wait for one another, here and there, while
    one more hundred costs nothing; beyond that they do cost, as each has a connection of its own in HTTP/1.
    How far away the server is shows while few requests are open: with many, even the fastest answer has
    queued behind others, which would ask for more still. So it is measured with few, and again every half
    minute. A server may need longer to take a request than to hand out a result, so each route has a fastest
    answer of its own, and counts as often as it was answered.
    """

    _RATE = 10_000.0
    _MOST = 400
    _MEASURING = 8
    """How many to have open until twice as many have been answered."""
    _EVERY = 30.0
    _FEW = 32

    def __init__(self, least: int = 128) -> None:
        super().__init__(self._MEASURING)
        self._least = least
        """Open at once, however near the server is."""
        self.needed = self._MEASURING
        """How many open requests keep the server busy, but for what one waits for another here."""
        self._since = monotonic()
        self._seen = 0
        self._fastest: dict[str, tuple[float, int]] = {}
        """By route: the seconds of its fastest answer, and how many it has given."""

    def at_once(self) -> int:
        """How many may want to be open: no fewer while the distance is measured with a few."""
        return max(self._least, self.size)

    def leave(self, route: str, asked_at: float, *, answered: bool) -> None:
        """Make room; `answered` if the time since `asked_at` tells how long the server takes for `route`."""
        now = monotonic()
        if answered and asked_at >= self._since:
            took = now - asked_at
            fastest, answers = self._fastest.get(route, (took, 0))
            self._fastest[route] = min(fastest, took), answers + 1
            self._seen += 1
            if self._seen >= 2 * self._MEASURING:
                few = min(self._FEW, self._least)
                seconds = sum(best * count for best, count in self._fastest.values()) / self._seen
                self.needed = min(self._MOST, max(few, round(self._RATE * seconds)))
                self.size = max(self._least, self.needed)
        if now - self._since > self._EVERY:
            self.size = self.needed = self._MEASURING
            self._since, self._seen = now, 0
            self._fastest.clear()
        self.give_back(1)
