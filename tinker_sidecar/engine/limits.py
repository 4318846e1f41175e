"""How much may be on its way to the server at once, and the pauses it asks for."""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic

__all__ = ["Budget", "DispatchLimits"]


class Budget:
    """So many units to share; whoever does not get its share waits its turn.

    A request for more than there is gets all there is, alone, rather than waiting for ever.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._used = 0
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, amount: int) -> int:
        """Wait for `amount` units; returns what was taken, to be given back."""
        amount = min(amount, self.size)
        if not self._queue and self._used + amount <= self.size:
            self._used += amount
            return amount
        turn = asyncio.get_running_loop().create_future()
        self._queue.append((amount, turn))
        try:
            await turn
        except asyncio.CancelledError:
            # Either the share has come already, or others may go ahead now.
            self.give_back(amount if turn.done() and not turn.cancelled() else 0)
            raise
        return amount

    def give_back(self, amount: int) -> None:
        """Return what `take` gave, to whoever waits for it."""
        self._used -= amount
        while self._queue:
            wanted, turn = self._queue[0]
            if not turn.done():
                if self._used + wanted > self.size:
                    return
                self._used += wanted
                turn.set_result(None)
            self._queue.popleft()

    def hold(self, amount: int) -> _Hold:
        """`async with` this share taken."""
        return _Hold(self, amount)


class _Hold:
    # Not a contextlib generator: one of those costs more than all else that a request does here.
    __slots__ = ("_amount", "_budget")

    def __init__(self, budget: Budget, amount: int) -> None:
        self._budget = budget
        self._amount = amount

    async def __aenter__(self) -> None:
        self._amount = await self._budget.take(self._amount)

    async def __aexit__(self, *_: object) -> None:
        self._budget.give_back(self._amount)


class DispatchLimits:
    """The limits on `asample`, and the pause a server asks for with a 429.

    While the server asks for it, and for 10 s after, fewer requests run at once and each byte
    counts 20-fold: the official client's manners, on which servers rely.
    """

    _CAREFUL_SECONDS = 10.0
    _CAREFUL_DISPATCHES = 10
    _CAREFUL_BYTE_FACTOR = 20
    _LARGE_PROMPT = 128 * 1024

    def __init__(self, dispatches: int, prompt_bytes: int) -> None:
        self._dispatches = Budget(dispatches)
        self._careful_dispatches = Budget(self._CAREFUL_DISPATCHES)
        self._bytes = Budget(prompt_bytes)
        self._paused_until = 0.0

    def hold(self, prompt_bytes: int) -> _Dispatch:
        """`async with` room to send one request of `prompt_bytes`."""
        return _Dispatch(self, prompt_bytes)

    async def take(self, prompt_bytes: int) -> list[tuple[Budget, int]]:
        """Wait for room to send one request of `prompt_bytes`; returns what to give back."""
        while True:
            while self._paused_until > monotonic():  # noqa: ASYNC110  # The end moves while we wait.
                await asyncio.sleep(self._paused_until - monotonic())
            careful = self._careful()
            taken = await self._take(prompt_bytes, careful=careful)
            if self._careful() == careful and self._paused_until <= monotonic():
                return taken
            self.give_back(taken)  # A 429 came for somebody else while we waited for room.

    async def _take(self, prompt_bytes: int, *, careful: bool) -> list[tuple[Budget, int]]:
        if careful:
            shares = [(self._careful_dispatches, 1), (self._bytes, prompt_bytes * self._CAREFUL_BYTE_FACTOR)]
        else:
            shares = [(self._bytes, prompt_bytes)]
        taken: list[tuple[Budget, int]] = []
        try:
            for budget, amount in ((self._dispatches, 1), *shares):
                taken.append((budget, await budget.take(amount)))
        except BaseException:
            self.give_back(taken)
            raise
        return taken

    def give_back(self, taken: list[tuple[Budget, int]]) -> None:
        """Return what `take` gave."""
        for budget, amount in taken:
            budget.give_back(amount)

    def back_off(self, prompt_bytes: int) -> None:
        """The server is overloaded: nobody sends for 1 s, or 5 s after a large prompt."""
        pause = 1.0 if prompt_bytes <= self._LARGE_PROMPT else 5.0
        self._paused_until = max(self._paused_until, monotonic() + pause)

    def _careful(self) -> bool:
        return self._paused_until > 0 and monotonic() - self._paused_until < self._CAREFUL_SECONDS


class _Dispatch:
    __slots__ = ("_limits", "_prompt_bytes", "_taken")

    def __init__(self, limits: DispatchLimits, prompt_bytes: int) -> None:
        self._limits = limits
        self._prompt_bytes = prompt_bytes

    async def __aenter__(self) -> None:
        self._taken = await self._limits.take(self._prompt_bytes)

    async def __aexit__(self, *_: object) -> None:
        self._limits.give_back(self._taken)
