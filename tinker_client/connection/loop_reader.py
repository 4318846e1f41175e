"""An event loop that reads the channel itself, for the tasks on it that wait."""

from __future__ import annotations

import contextlib
import contextvars
import os
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

__all__ = ["LoopReader"]


class LoopReader:
    """Calls `read` on `loop` when `fd` is readable, until closed from whatever thread.

    The loop gets a descriptor of its own, since it may hold on to it for longer than the socket lives;
    it is closed with this object at the latest.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, read: Callable[[], object]) -> None:
        self._loop = weakref.ref(loop)
        self._fd = os.dup(fd)
        self._close_fd = weakref.finalize(self, os.close, self._fd)
        # In a context of its own: the loop would keep that of the task that comes first, and its variables.
        contextvars.Context().run(loop.add_reader, self._fd, read)

    def close(self) -> None:
        """Have the loop let go of the descriptor, and only then close it: its number may be used anew."""
        loop = self._loop()
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # The loop is closed, and has let go of the descriptor.
                loop.call_soon_threadsafe(self._let_go, loop, context=contextvars.Context())
                return
        self._close_fd()

    def _let_go(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.remove_reader(self._fd)
        self._close_fd()
