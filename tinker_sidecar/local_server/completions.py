"""The order in which one client's requests were done, for `retrieve_futures`."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from tinker_sidecar.local_server.long_poll import wake

if TYPE_CHECKING:
    from tinker_sidecar.local_server.long_poll import Waiters

__all__ = ["CompletionFeed"]


class _Request(Protocol):
    @property
    def gone(self) -> bool: ...


_R = TypeVar("_R", bound=_Request)


class CompletionFeed(Generic[_R]):
    """Completions numbered 1, 2, …; a reader's cursor is the number of the last one it has seen.

    A request that is `gone`, since its result was dropped, is not told any more.
    """

    __slots__ = ("_events", "cursor", "waiters")

    def __init__(self) -> None:
        self._events: deque[tuple[int, _R]] = deque()
        self.cursor = 0
        """The number of the newest one."""
        self.waiters: Waiters = []

    def publish(self, request: _R) -> None:
        """Note that `request` is done and wake those who wait. Published again, it is told again."""
        while self._events and self._events[0][1].gone:
            self._events.popleft()
        self.cursor += 1
        self._events.append((self.cursor, request))
        wake(self.waiters)

    def trim(self, cursor: int) -> None:
        """Forget what a reader at `cursor` has seen."""
        while self._events and self._events[0][0] <= cursor:
            self._events.popleft()

    def unseen(self) -> list[_R]:
        """What is left after `trim`, in the order in which it was done."""
        return [request for _, request in self._events if not request.gone]
