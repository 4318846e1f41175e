"""How much may be on its way to the server at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from tinker_sidecar.engine.fair_queue import FairQueue

__all__ = ["Budget"]


class Budget:
    """So many units to share; whoever does not get its share waits its turn.

    A request for more than there is gets all there is, alone, rather than waiting for ever.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0
        self.waiting = 0
        """How many wait their turn, or did and have given up."""
        self._queue: FairQueue[tuple[int, asyncio.Future[None]]] = FairQueue()

    def try_take(self, amount: int) -> int:
        """Like `take`, for those who are in a hurry: returns 0 where that would have to wait."""
        if self.waiting:
            return 0
        if amount > self.size:
            amount = self.size
        used = self.used + amount
        if used > self.size:
            return 0
        self.used = used
        return amount

    async def take(self, amount: int) -> int:
        """Wait for `amount` units; returns what was taken, to be given back."""
        return self.try_take(amount) or await self.wait(amount)

    async def wait(self, amount: int, ticket: int = 0) -> int:
        """The same where `try_take` was of no use. Of one program's, those with a lower `ticket` go first."""
        amount = min(amount, self.size)
        if amount == 0:
            return 0
        turn = asyncio.get_running_loop().create_future()
        self._queue.put((amount, turn), ticket)
        self.waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            # Either the share has come already, or others may go ahead now.
            self.give_back(amount if turn.done() and not turn.cancelled() else 0)
            raise
        return amount

    def give_back(self, amount: int) -> None:
        """Return what `take` gave, to whoever waits for it."""
        self.used -= amount
        while self.waiting and self.used < self.size:
            wanted, turn = self._queue.first()
            if not turn.done():
                if self.used + wanted > self.size:
                    return
                self.used += wanted
                turn.set_result(None)
            self._queue.pop()
            self.waiting -= 1

    def hold(self, amount: int) -> _Hold:
        """`async with` this share taken."""
        return _Hold(self, amount)


class _Hold:
    # A class, since a `contextlib` generator would cost more than all else that a request does here.
    __slots__ = ("_amount", "_budget")

    def __init__(self, budget: Budget, amount: int) -> None:
        self._budget = budget
        self._amount = amount

    def __aenter__(self) -> Coroutine[None, None, int]:
        # Not a coroutine of its own around that of `take`: each one that waits would keep its frame.
        self._amount = min(self._amount, self._budget.size)
        return self._budget.take(self._amount)

    async def __aexit__(self, *_: object) -> None:
        self._budget.give_back(self._amount)
