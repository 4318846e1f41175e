"""The requests without an answer, and how many of them the engine may have at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tinker_client.futures import APIFuture, InterruptibleFuture
from tinker_sidecar.ipc.protocol import RequestSpec, Sample

__all__ = ["InFlight"]


class InFlight:
    """Requests by number. Beyond `most_requests` or `most_bytes` of prompts they wait here, in order.

    What waits costs nothing but itself: its prompt is the caller's own. Not safe for threads: the backend
    has a lock.
    """

    def __init__(self) -> None:
        self.most_requests = self.most_bytes = 0
        self.futures: dict[int, APIFuture[Any]] = {}
        """Who waits for which request; read it only."""
        self._requests: dict[int, tuple[Sample, RequestSpec]] = {}
        self._turns: dict[int, InterruptibleFuture[None]] = {}
        """Of the requests that have not been sent, in order: done once they are, or given up."""
        self._sent = 0
        self._sent_bytes = 0

    def add(
        self, sample: Sample, spec: RequestSpec, future: APIFuture[Any]
    ) -> InterruptibleFuture[None] | None:
        """None: there is room for the request, and it is taken. Otherwise it waits for this, its turn."""
        number = sample.request
        turn: InterruptibleFuture[None] | None = None
        if self._turns or not self._has_room(spec):
            turn = InterruptibleFuture()
        # What Ctrl-C interrupts must not be half done. CPython 3.11 to 3.14 raise it at calls and backward
        # jumps only, so steps that belong together follow each other without one, here and below.
        # tests/client/test_atomic_steps.py fails where there is one.
        self.futures[number] = future
        self._requests[number] = sample, spec
        if turn is not None:
            self._turns[number] = turn
            return turn
        self._sent += 1
        self._sent_bytes += spec.prompt_bytes
        return None

    def remove(self, numbers: Iterable[int]) -> None:
        """Forget these requests."""
        for number in numbers:
            if number not in self.futures:
                continue
            _, spec = self._requests[number]
            del self.futures[number], self._requests[number]
            if number in self._turns:
                turn = self._turns[number]
                del self._turns[number]
                turn.set_result(None)
            else:
                self._sent -= 1
                self._sent_bytes -= spec.prompt_bytes

    def next_with_room(self) -> tuple[Sample, RequestSpec] | None:
        """The first in line, if there is room for it."""
        if not self._turns:
            return None
        request = self._requests[next(iter(self._turns))]
        return request if self._has_room(request[1]) else None

    def take(self, sample: Sample, spec: RequestSpec) -> None:
        """This request, the first in line, has been sent."""
        turn = self._turns[sample.request]
        del self._turns[sample.request]
        self._sent += 1
        self._sent_bytes += spec.prompt_bytes
        turn.set_result(None)

    @property
    def held_back(self) -> int:
        """How many have not been sent."""
        return len(self._turns)

    def sent(self) -> list[tuple[Sample, RequestSpec]]:
        """All that the engine has, in the order in which it got it."""
        return [request for number, request in self._requests.items() if number not in self._turns]

    def clear(self) -> list[APIFuture[Any]]:
        """Forget everything; returns who waits."""
        futures = list(self.futures.values())
        self.remove(list(self.futures))
        return futures

    def _has_room(self, spec: RequestSpec) -> bool:
        # A request that is too large for any limit is sent when there is no other.
        return self._sent == 0 or (
            self._sent < self.most_requests and self._sent_bytes + spec.prompt_bytes <= self.most_bytes
        )
