"""A line in front of what is done by few at once, in which waiting takes little memory."""

from __future__ import annotations

import asyncio
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from functools import partial

from tinker_sidecar.engine.fair_queue import program

__all__ = ["Line"]

_IN_A_ROW = 16
"""As many as are often asked for together: the results of those that are sent together come together, and one
poll tells of them."""

Begin = Callable[[], bool]
"""Begins something, or returns False if nobody wants that any more."""


class Line:
    """Lets in as many as `at_once()` says; the others wait as a function to be called, not as a task.

    Programs take turns. So do those who have a line of their own within a program, with a few in a row: who
    comes with one thing does not wait for somebody's ten thousand.

    Some of those inside may rest, as they wait for something else; others are let in meanwhile, up to `most`
    in all.
    """

    def __init__(self, at_once: Callable[[], int], most: int = sys.maxsize) -> None:
        self._at_once = at_once
        self._most = most
        self.inside = 0
        self._resting = 0
        self._programs: OrderedDict[int, _Lines] = OrderedDict()
        """Those for which something waits, the one whose turn it is in front."""
        self.waiting = 0
        """How many wait, in all."""

    @property
    def limit(self) -> int:
        """How many may be inside by now."""
        return min(self._most, self._at_once() + self._resting)

    def join(self, begin: Begin, whose: Hashable = None) -> None:
        """Have `begin` called when it is the turn of `whose` line it stands in: now or later.

        If it does not return False there is to be a `leave`.
        """
        number = program.get()
        lines = self._programs.get(number)
        if lines is None:
            lines = self._programs[number] = _Lines()
        lines.put(begin, whose)
        self.waiting += 1
        if self.waiting == 1:
            self._let_in()

    def leave(self) -> None:
        """Make room for another."""
        self.inside -= 1
        if self.waiting:
            self._let_in()

    def rest(self) -> None:
        """Somebody inside waits for something else, until `go_on`."""
        self._resting += 1
        if self.waiting:
            self._let_in()

    def go_on(self) -> None:
        """Somebody rests no more."""
        self._resting -= 1

    async def enter(self, whose: Hashable = None) -> None:
        """Wait until it is our turn; to be followed by a `leave`."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.join(partial(_grant, turn), whose)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.leave()
            raise

    def _let_in(self) -> None:
        limit = self.limit
        while self.waiting and self.inside < limit:
            self.waiting -= 1
            self.inside += 1
            if not self._next()():
                self.inside -= 1

    def _next(self) -> Begin:
        number, lines = next(iter(self._programs.items()))
        begin = lines.pop_next()
        if lines:
            self._programs.move_to_end(number)
        else:
            del self._programs[number]
        return begin


class _Lines(OrderedDict[Hashable, "deque[Begin]"]):
    """Those of one program, by whose they are: the one whose turn it is in front."""

    def __init__(self) -> None:
        super().__init__()
        self._in_a_row = 0

    def put(self, begin: Begin, whose: Hashable) -> None:
        line = self.get(whose)
        if line is None:
            line = self[whose] = deque()
        line.append(begin)

    def pop_next(self) -> Begin:
        whose, line = next(iter(self.items()))
        begin = line.popleft()
        self._in_a_row += 1
        if not line:
            del self[whose]
            self._in_a_row = 0
        elif self._in_a_row == _IN_A_ROW:
            self.move_to_end(whose)
            self._in_a_row = 0
        return begin


def _grant(turn: asyncio.Future[None]) -> bool:
    if turn.done():
        return False
    turn.set_result(None)
    return True
