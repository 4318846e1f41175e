"""Runs of one thing, and what they say together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from statistics import median
from typing import Any

from harness.peers import Peer

__all__ = ["Figures", "Runs", "least", "scaled"]

Figures = dict[str, Any]


class Runs:
    """All figures of a benchmark, by peer and by point, a named tuple of what was asked of every peer."""

    def __init__(self) -> None:
        self._figures: dict[tuple[Peer, Any], list[Figures]] = defaultdict(list)

    def add(self, peer: Peer, point: Any, figures: Figures) -> None:
        self._figures[peer, point].append(figures)

    def figures(self, peer: Peer, point: Any) -> list[Figures]:
        """Those of each run."""
        return self._figures.get((peer, point), [])

    def values(self, peer: Peer, point: Any, name: str) -> list[float]:
        """The figure called `name` of each run, but those that could not tell."""
        return [run[name] for run in self.figures(peer, point) if run.get(name) is not None]

    def median(self, peer: Peer, point: Any, name: str) -> float | None:
        """None when no run could tell."""
        values = self.values(peer, point, name)
        return median(values) if values else None

    def spread(self, peer: Peer, point: Any, name: str) -> tuple[float, float]:
        """The least and the most."""
        values = self.values(peer, point, name)
        return min(values), max(values)

    def ratio(self, peer: Peer, other: Peer, point: Any, name: str) -> float | None:
        """How many times the median of `other` goes into that of `peer`."""
        own, its = self.median(peer, point, name), self.median(other, point, name)
        return own / its if own is not None and its else None

    def as_records(self) -> list[Figures]:
        """Every run, for a file."""
        return [
            {"peer": peer.name, **point._asdict(), **figures}
            for (peer, point), runs in self._figures.items()
            for figures in runs
        ]


def least(values: Iterable[float | None]) -> float | None:
    """The least of those that are known."""
    return min((value for value in values if value is not None), default=None)


def scaled(value: float | None, factor: float) -> float | None:
    """In another unit, if it is known."""
    return None if value is None else value * factor
