"""A line in front of what is done by few at once, in which waiting takes little memory."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Any, TypeVarTuple

__all__ = ["Line"]

_IN_A_ROW = 16
"""As many as are often asked for together: the results of those that are sent together come together, and one
poll tells of them."""

_Ts = TypeVarTuple("_Ts")


class Line:
    """Lets in as many as `at_once()` says, or else `most`. The others do not wait as tasks.

    Programs take turns. So do those who have a line of their own within a program, with a few in a row: who
    comes with one thing does not wait for somebody's ten thousand.

    No more than `most` are inside. While some of those rest, as they wait for other things, others come in.
    """

    def __init__(self, most: int, at_once: Callable[[], int] | None = None) -> None:
        self._most = most
        self._at_once = at_once
        self.inside = 0
        self._resting = 0
        self._programs: OrderedDict[int, _Lines] = OrderedDict()
        """Those for which something waits, the one whose turn it is in front."""
        self.waiting = 0
        """How many wait, in all."""

    @property
    def limit(self) -> int:
        """How many may be inside by now."""
        return self._most if self._at_once is None else min(self._most, self._at_once() + self._resting)

    def join(self, program: int, whose: Hashable, begin: Callable[[*_Ts], bool], *args: *_Ts) -> None:
        """Have `begin(*args)` called when its turn comes, now or later, in `whose` line of that `program`.

        It begins something, and then there is to be a `leave`; or it returns False, if nobody wants that any
        more.
        """
        lines = self._programs.get(program)
        if lines is None:
            lines = self._programs[program] = _Lines()
        line = lines.get(whose)
        if line is None:
            line = lines[whose] = deque()
        line.append((begin, *args))
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

    async def enter(self, program: int, whose: Hashable) -> None:
        """Wait until it is our turn; to be followed by a `leave`."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.join(program, whose, _grant, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.leave()
            raise

    def _let_in(self) -> None:
        limit = self.limit
        while self.waiting and self.inside < limit:
            program, lines = next(iter(self._programs.items()))
            whose, line = next(iter(lines.items()))
            has_begun = False
            while line and not has_begun:  # What nobody wants any more takes no turn.
                self.waiting -= 1
                begin, *args = line.popleft()
                has_begun = begin(*args)
            self.inside += has_begun
            lines.in_a_row += has_begun
            if not line:
                del lines[whose]
                lines.in_a_row = 0
            elif lines.in_a_row == _IN_A_ROW:
                lines.move_to_end(whose)
                lines.in_a_row = 0
            if not lines:
                del self._programs[program]
            elif has_begun:
                self._programs.move_to_end(program)


class _Lines(OrderedDict[Hashable, "deque[tuple[Any, ...]]"]):
    """Those of one program, by whose they are: the one whose turn it is in front."""

    in_a_row = 0
    """How many of it have begun since it came to the front."""


def _grant(turn: asyncio.Future[None]) -> bool:
    if turn.done():
        return False
    turn.set_result(None)
    return True
