"""The order in which one client's requests were done, for `retrieve_futures`."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from tinker_sidecar.local_server.long_poll import wake

if TYPE_CHECKING:
    from tinker_sidecar.local_server.long_poll import Waiters
    from tinker_sidecar.local_server.promises import ServedPromise

__all__ = ["CompletionFeed"]


class CompletionFeed:
    """Completions numbered 1, 2, …; a reader's cursor is the number of the last one it has seen."""

    __slots__ = ("_events", "cursor", "waiters")

    def __init__(self) -> None:
        self._events: deque[tuple[int, ServedPromise]] = deque()
        self.cursor = 0
        self.waiters: Waiters = []

    def publish(self, promise: ServedPromise) -> None:
        while self._events and self._events[0][1].gone:
            self._events.popleft()
        self.cursor += 1
        self._events.append((self.cursor, promise))
        wake(self.waiters)

    def trim(self, cursor: int) -> None:
        """Forget what a reader at `cursor` has seen."""
        while self._events and self._events[0][0] <= cursor:
            self._events.popleft()

    def unseen(self) -> list[ServedPromise]:
        return [promise for _, promise in self._events if not promise.gone]
