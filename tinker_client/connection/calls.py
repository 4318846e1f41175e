"""Calls to the engine: each is a message with a number, and gets one reply."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tinker_client.errors import from_failure
from tinker_client.futures import InterruptibleFuture, fail
from tinker_sidecar.ipc.protocol import Message, Reply

__all__ = ["Calls"]


class Calls:
    """The calls without a reply, by number. Not safe for threads: the backend has a lock."""

    def __init__(self) -> None:
        self._pending: dict[int, tuple[InterruptibleFuture[Any], Message]] = {}

    def __bool__(self) -> bool:
        return bool(self._pending)

    def add(self, number: int, message: Message) -> InterruptibleFuture[Any]:
        """The future of what the engine replies to `message`, which has that number."""
        future: InterruptibleFuture[Any] = InterruptibleFuture()
        self._pending[number] = future, message
        return future

    def complete(self, reply: Reply) -> None:
        """Give whoever waits the reply. The call is kept, so that after Ctrl-C it can be completed again."""
        future, _ = self._pending.get(reply.call, (None, None))
        if reply.failure is not None:
            fail(future, from_failure(reply.failure))
        elif future is not None:
            future._complete(reply.data if reply.value is None else reply.value)

    def remove(self, replies: Iterable[Reply]) -> None:
        """Forget the calls that these replies answer."""
        for reply in replies:
            self._pending.pop(reply.call, None)

    def messages(self) -> list[tuple[int, Message]]:
        """What has no reply yet, with its number."""
        return [(number, message) for number, (_, message) in self._pending.items()]

    def clear(self) -> list[InterruptibleFuture[Any]]:
        """Forget everything; returns who waits."""
        futures = [future for future, _ in self._pending.values()]
        self._pending.clear()
        return futures
