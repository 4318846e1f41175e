"""The requests without an answer, and how many of them the engine may have at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from tinker_client.futures import APIFuture, InterruptibleFuture
from tinker_sidecar.protocol import DmelChunk, ImageChunk, Sample, TextChunk

__all__ = ["InFlight", "Request"]


class Request:
    """A request without an answer. `turn` is done once it is sent."""

    __slots__ = ("cost", "future", "message", "turn")

    def __init__(self, message: Sample, future: APIFuture[Any]) -> None:
        self.message = message
        self.future = future
        self.cost = sum(map(_size, message.prompt))
        self.turn: InterruptibleFuture[None] | None = None

    @property
    def waits(self) -> bool:
        return self.turn is not None and not self.turn.done()


class InFlight:
    """Requests by number. Beyond `most_requests` or `most_bytes` of prompts they wait here, in order.

    What waits costs nothing but itself: its prompt is the caller's own. Not safe for threads: the backend
    has a lock.
    """

    def __init__(self) -> None:
        self.most_requests = self.most_bytes = 0
        self._requests: dict[int, Request] = {}
        self._waiting: deque[Request] = deque()
        self._sent = 0
        self._sent_bytes = 0

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, request: Request) -> bool:
        """Whether there is room for `request`, which is taken; if not, it waits its turn."""
        self._requests[request.message.request] = request
        if self._waiting or not self._has_room(request):
            request.turn = InterruptibleFuture()
            self._waiting.append(request)
            return False
        self._count(request)
        return True

    def future(self, number: int) -> APIFuture[Any] | None:
        """Who waits for request `number`, if anybody does."""
        request = self._requests.get(number)
        return None if request is None else request.future

    def remove(self, numbers: Iterable[int]) -> None:
        """Forget these requests."""
        for number in numbers:
            request = self._requests.pop(number, None)
            if request is None:
                continue
            if request.waits:
                self._waiting.remove(request)
            else:
                self._sent -= 1
                self._sent_bytes -= request.cost

    def next_with_room(self) -> Request | None:
        """The first in line, if there is room for it."""
        return self._waiting[0] if self._waiting and self._has_room(self._waiting[0]) else None

    def take(self, request: Request) -> None:
        """`request`, the first in line, has been sent."""
        self._waiting.popleft()
        self._count(request)
        if request.turn is not None:
            request.turn.set_result(None)

    def sent(self) -> list[Request]:
        """All that the engine has, in the order in which it got it."""
        return [request for request in self._requests.values() if not request.waits]

    def clear(self) -> list[Request]:
        """Forget everything, and return it."""
        requests = list(self._requests.values())
        self._requests.clear()
        self._waiting.clear()
        self._sent = self._sent_bytes = 0
        return requests

    def _has_room(self, request: Request) -> bool:
        # One too large for any room goes alone.
        return self._sent == 0 or (
            self._sent < self.most_requests and self._sent_bytes + request.cost <= self.most_bytes
        )

    def _count(self, request: Request) -> None:
        self._sent += 1
        self._sent_bytes += request.cost


def _size(chunk: object) -> int:
    if isinstance(chunk, TextChunk):
        return chunk.tokens.nbytes
    if isinstance(chunk, ImageChunk):
        return chunk.data.nbytes
    return chunk.dmel.nbytes if isinstance(chunk, DmelChunk) else 0
