"""An event loop that reads the channel itself, for the tasks on it that wait."""

from __future__ import annotations

import contextlib
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
        loop.add_reader(self._fd, read)

    def close(self) -> None:
        loop = self._loop()
        if loop is not None and not loop.is_closed():
            with contextlib.suppress(RuntimeError):  # It closed in this very moment.
                loop.call_soon_threadsafe(loop.remove_reader, self._fd)
        self._close_fd()
