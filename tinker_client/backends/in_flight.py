"""The requests without an answer, and how many of them the engine may have at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tinker_client.futures import APIFuture, InterruptibleFuture
from tinker_sidecar.protocol import Sample

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
        self._messages: dict[int, Sample] = {}
        self._turns: dict[int, InterruptibleFuture[None]] = {}
        """Of the requests that have not been sent, in order: done once they are, or given up."""
        self._sent = 0
        self._sent_bytes = 0

    def add(self, message: Sample, future: APIFuture[Any]) -> InterruptibleFuture[None] | None:
        """None: there is room for the request, and it is taken. Otherwise it waits for this, its turn."""
        number = message.request
        turn: InterruptibleFuture[None] | None = None
        if self._turns or not self._has_room(message):
            turn = InterruptibleFuture()
        # From here on without a call, here and below, which Ctrl-C could come in after.
        self.futures[number] = future
        self._messages[number] = message
        if turn is not None:
            self._turns[number] = turn
            return turn
        self._sent += 1
        self._sent_bytes += message.ask.prompt_bytes
        return None

    def remove(self, numbers: Iterable[int]) -> None:
        """Forget these requests."""
        for number in numbers:
            if number not in self.futures:
                continue
            message = self._messages[number]
            del self.futures[number], self._messages[number]
            if number in self._turns:
                turn = self._turns[number]
                del self._turns[number]
                turn.set_result(None)
            else:
                self._sent -= 1
                self._sent_bytes -= message.ask.prompt_bytes

    def next_with_room(self) -> Sample | None:
        """The first in line, if there is room for it."""
        for number in self._turns:
            return message if self._has_room(message := self._messages[number]) else None
        return None

    def take(self, message: Sample) -> None:
        """This request, the first in line, has been sent."""
        turn = self._turns[message.request]
        del self._turns[message.request]
        self._sent += 1
        self._sent_bytes += message.ask.prompt_bytes
        turn.set_result(None)

    def sent(self) -> list[Sample]:
        """All that the engine has, in the order in which it got it."""
        return [message for number, message in self._messages.items() if number not in self._turns]

    def clear(self) -> list[APIFuture[Any]]:
        """Forget everything; returns who waits."""
        futures = list(self.futures.values())
        self.remove(list(self.futures))
        return futures

    def _has_room(self, message: Sample) -> bool:
        # One too large for any room goes alone.
        return self._sent == 0 or (
            self._sent < self.most_requests and self._sent_bytes + message.ask.prompt_bytes <= self.most_bytes
        )
