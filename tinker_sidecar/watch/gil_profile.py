"""How much time each place in the program has cost, as far as looks tell."""

from __future__ import annotations

from tinker_sidecar.ipc.stats import GilHolder
from tinker_sidecar.watch.culprit import Culprit

__all__ = ["GilProfile"]

_MOST_FUNCTIONS = 1000
"""Code that is made on the fly is a new function each time; the one that has cost least is forgotten."""


class GilProfile:
    """Adds up seconds for each function, and keeps at which of its lines they were spent."""

    def __init__(self) -> None:
        self._functions: dict[tuple[str, ...], dict[str, tuple[float, Culprit]]] = {}
        """For each function its places, the seconds spent there, and who was last seen there."""

    def add(self, culprit: Culprit, seconds: float) -> None:
        """`culprit` was seen, which stands for so many seconds."""
        places = self._functions.setdefault(culprit.function, {})
        before, _ = places.get(culprit.place, (0.0, culprit))
        places[culprit.place] = before + seconds, culprit
        if len(self._functions) > _MOST_FUNCTIONS:
            del self._functions[min(self._functions, key=lambda it: _total(self._functions[it]))]

    def dearest(self) -> list[tuple[float, Culprit]]:
        """For each function the seconds of all its places, and its dearest place; the dearest one first."""
        functions = [
            (_total(places), max(places.values(), key=lambda it: it[0])[1])
            for places in self._functions.values()
        ]
        return sorted(functions, key=lambda it: it[0], reverse=True)

    def holders(self, most: int, starved: float) -> list[GilHolder]:
        """The `most` dearest, with their shares of `starved` seconds."""
        return [
            GilHolder(
                place=culprit.place,
                thread=culprit.thread,
                seconds=seconds,
                share=min(1.0, seconds / starved) if starved > 0 else 0.0,
            )
            for seconds, culprit in self.dearest()[:most]
        ]


def _total(places: dict[str, tuple[float, Culprit]]) -> float:
    return sum(seconds for seconds, _ in places.values())
