"""A line for what is scarce, in which programs that share an engine's process take turns."""

from __future__ import annotations

from collections import OrderedDict
from contextvars import ContextVar
from heapq import heappop, heappush
from typing import Generic, TypeVar

__all__ = ["FairQueue", "program"]

program: ContextVar[int] = ContextVar("program", default=0)
"""The number of the program whose work is being done; 0 is everybody's. Tasks inherit it."""

_T = TypeVar("_T")


class FairQueue(Generic[_T]):
    """First come, first served, within each program; among programs, one of each in turn.

    So somebody who waits for ten thousand things does not keep somebody waiting who wants one.
    """

    def __init__(self) -> None:
        self.lines: OrderedDict[int, list[tuple[int, int, _T]]] = OrderedDict()
        """By program, the one whose turn it is in front: with none, nobody waits."""
        self._count = 0

    def __len__(self) -> int:
        return sum(map(len, self.lines.values()))

    def put(self, item: _T, ticket: int = 0) -> None:
        """Add `item` to the line of the current program: behind those with a smaller or the same ticket."""
        self._count += 1
        heappush(self.lines.setdefault(program.get(), []), (ticket, self._count, item))

    def first(self) -> _T:
        """Whose turn it is."""
        return next(iter(self.lines.values()))[0][2]

    def pop(self) -> _T:
        """Whose turn it is; its program has its next turn after all others."""
        number, line = next(iter(self.lines.items()))
        _, _, item = heappop(line)
        if line:
            self.lines.move_to_end(number)
        else:
            del self.lines[number]
        return item
