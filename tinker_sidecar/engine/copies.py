"""Copies of one client in programs that share a sidecar: one clone to the server, with one poll for all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tinker_sidecar.engine.poller import FuturesPoller
from tinker_sidecar.engine.recovery import Retries
from tinker_sidecar.engine.retry import Policy
from tinker_sidecar.ipc.protocol import NUMBERS_OF_A_COPY, Retry

__all__ = ["Copies"]

_MOST = 62
"""Copies to a clone id: a client begins to count in the first quarter of a clone's numbers, the engine uses
the upper half for what must be submitted anew, and what is between them has room for so many."""

_Likes = tuple[str, Retry]
"""Copies of one client are those of a sampling session, and share what they share if they retry alike."""


class Copies:
    """Those of all clients with one account.

    `new_poller` makes what polls for a clone of a sampling session, with a policy of retries.
    """

    def __init__(self, new_poller: Callable[[str, int, Policy], FuturesPoller]) -> None:
        self._new_poller = new_poller
        self._clones: dict[_Likes, _Clone] = {}
        """Those whose numbers are given out at present."""
        self._pollers: dict[tuple[_Likes, int], FuturesPoller] = {}

    async def numbers(
        self, likes: _Likes, first: int, new_clone: Callable[[], Awaitable[int]]
    ) -> tuple[int, int]:
        """The clone id for one more copy, and where in its block that begins to count.

        `new_clone` is asked when there is none to share, and the copy then begins at `first`.
        """
        clone = self._clones.setdefault(likes, _Clone())
        async with clone.lock:
            if not clone.free:
                clone.number = await new_clone()
                clone.free = [first + share * NUMBERS_OF_A_COPY for share in reversed(range(_MOST))]
            return clone.number, clone.free.pop()

    def poller(self, likes: _Likes, clone: int, policy: Policy, user: Retries) -> FuturesPoller:
        """What polls for that clone, to be given up with `leave`."""
        poller = self._pollers.get((likes, clone))
        if poller is None:
            poller = self._pollers[likes, clone] = self._new_poller(likes[0], clone, policy)
        poller.users.append(user)
        return poller

    async def leave(self, likes: _Likes, clone: int, user: Retries, *, says_farewell: bool) -> None:
        """`user` polls no more. With the last one the polls end, after a farewell to the server."""
        poller = self._pollers[likes, clone]
        poller.users.remove(user)
        if not poller.users:
            del self._pollers[likes, clone]
            if likes in self._clones and all(others != likes for others, _ in self._pollers):
                del self._clones[likes]
            await poller.close(says_farewell=says_farewell)


class _Clone:
    def __init__(self) -> None:
        self.number = 0
        self.free: list[int] = []
        """Where further copies may begin to count."""
        self.lock = asyncio.Lock()
        """Copies that come at once wait for one clone id."""
