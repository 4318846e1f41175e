"""A line in front of what is done by few at once, in which waiting takes little memory."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from functools import partial

from tinker_sidecar.engine.fair_queue import FairQueue

__all__ = ["Line"]


class Line:
    """Lets in as many as `at_once()` says; the others wait as a function to be called, not as a task.

    Some of those inside may rest, as they wait for something else; others are let in meanwhile, up to `most`
    in all.
    """

    def __init__(self, at_once: Callable[[], int], most: int = sys.maxsize) -> None:
        self._at_once = at_once
        self._most = most
        self.inside = 0
        self._resting = 0
        self._queue: FairQueue[Callable[[], bool]] = FairQueue()
        self.waiting = 0
        """How many are in the queue, which takes longer to ask."""

    @property
    def limit(self) -> int:
        """How many may be inside by now."""
        return min(self._most, self._at_once() + self._resting)

    def join(self, begin: Callable[[], bool]) -> None:
        """Have `begin` called when its turn comes: now or later.

        It returns False if nobody wants that any more, or else there is to be a `leave`.
        """
        self._queue.put(begin)
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

    async def enter(self) -> None:
        """Wait until it is our turn; to be followed by a `leave`."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.join(partial(_grant, turn))
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
            if not self._queue.pop()():
                self.inside -= 1


def _grant(turn: asyncio.Future[None]) -> bool:
    if turn.done():
        return False
    turn.set_result(None)
    return True
