"""The event loop that an engine in process runs on."""

from __future__ import annotations

import asyncio
import sys
import threading
from contextvars import Context
from time import monotonic, sleep
from typing import TYPE_CHECKING, TypeVarTuple

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["new_event_loop"]

_Ts = TypeVarTuple("_Ts")

_LONGEST_WAIT = 1.0
_BACK_IN_RUST = 0.005
"""Seconds that a thread of the HTTP library needs to return from Python, once it has woken the loop."""


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A new one of uvloop's, or of asyncio's on Windows, where uvloop is not to be had."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return _AsyncioLoop()
    return uvloop.new_event_loop()


if sys.platform == "win32":
    _Base = asyncio.ProactorEventLoop
else:
    _Base = asyncio.SelectorEventLoop


class _AsyncioLoop(_Base):
    """A loop that closes only when nobody is waking it any more.

    To wake it, asyncio lets go of the GIL, uvloop does not. If the last answer woke it, the program may be
    through with that answer and end before the thread of the HTTP library that brought it has the GIL
    back, and Python before 3.14 aborts the process when such a thread comes too late.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waking: set[int] = set()
        """Threads that are about to wake it."""

    def call_soon_threadsafe(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        thread = threading.get_ident()
        self._waking.add(thread)
        try:
            return super().call_soon_threadsafe(callback, *args, context=context)
        finally:
            self._waking.discard(thread)

    def close(self) -> None:
        end = monotonic() + _LONGEST_WAIT
        while self._waking and monotonic() < end:
            sleep(_BACK_IN_RUST)
        sleep(_BACK_IN_RUST)
        super().close()
