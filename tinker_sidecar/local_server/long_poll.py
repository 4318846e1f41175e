"""Requests that are parked until something happens, a time is over or the server closes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["LongPolls", "Waiters", "wake"]

Waiters = list[asyncio.Future[None]]
"""Those who wait for one thing; whoever makes it happen calls `wake`."""


def wake(waiters: Waiters) -> None:
    """Let all of them go on."""
    for waiter in waiters:
        _release(waiter)
    waiters.clear()


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class LongPolls:
    """Parks requests, and lets them all go when the server closes."""

    def __init__(self) -> None:
        self._parked: set[asyncio.Future[None]] = set()
        self.closed = False

    async def park(
        self, waiters: Waiters, seconds: float, gone: Callable[[], Coroutine[Any, Any, Any]]
    ) -> None:
        """Return when `waiters` are woken, after `seconds`, on `close`, or when the client is `gone`."""
        if self.closed or seconds <= 0:
            return
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        waiters.append(waiter)
        self._parked.add(waiter)
        timer = loop.call_later(seconds, _release, waiter)
        leaving = loop.create_task(gone())
        leaving.add_done_callback(lambda _: _release(waiter))
        try:
            await waiter
        finally:
            timer.cancel()
            leaving.cancel()
            self._parked.discard(waiter)
            if waiter in waiters:
                waiters.remove(waiter)

    def close(self) -> None:
        """Let all go on, now and from now on."""
        self.closed = True
        for waiter in list(self._parked):
            _release(waiter)
