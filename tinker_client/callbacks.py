"""Calling what users gave us to call: done-callbacks, queue observers, their `logging` handlers.

Such code may raise anything, block, sample or run an event loop. It runs on a thread of its own, so that it
holds up neither results nor whoever waits for them; at worst the callbacks behind it wait.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import traceback
from collections.abc import Callable

__all__ = ["call_isolated", "run_soon", "settle"]

logger = logging.getLogger(__name__)

_IDLE = 1.0
"""Seconds without anything to call after which the thread ends."""


class _Runner:
    """Runs functions one after the other, on a thread that lives while there are some."""

    def __init__(self) -> None:
        self._due: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._lock = threading.RLock()
        self._running = False

    def run_soon(self, function: Callable[[], object]) -> None:
        self._due.put(function)
        if self._running:
            return
        with self._lock:
            if self._running:
                return
            self._running = True
            try:
                threading.Thread(target=self._work, name="tinker-callbacks", daemon=True).start()
                return
            except BaseException as error:
                self._running = False
                if not isinstance(error, RuntimeError):
                    raise  # Ctrl-C. If the thread runs all the same, there will be two for a while.
        # No thread is to be had, as during the exit of Python 3.12: better here than never.
        with contextlib.suppress(queue.Empty):
            while True:
                call_isolated(self._due.get_nowait())

    def settle(self, timeout: float) -> None:
        """Give what is to be called `timeout` seconds to be done with."""
        if self._running:
            settled = threading.Event()
            self.run_soon(settled.set)
            settled.wait(timeout)

    def _work(self) -> None:
        while True:
            try:
                call_isolated(self._due.get(timeout=_IDLE))
            except queue.Empty:
                with self._lock:
                    self._running = False
                    # Looked at last, since `run_soon` puts a function there before it looks for a thread.
                    if self._due.empty():
                        return
                    self._running = True


def call_isolated(function: Callable[[], object]) -> None:
    """`function()`, whose exceptions, whatever they are, are logged: they are no business of the caller's."""
    try:
        function()
    except BaseException as error:  # noqa: BLE001 - Even `SystemExit`: it is no business of the others.
        try:
            logger.error("exception calling %r", function, exc_info=error)
        except BaseException:  # noqa: BLE001 - A log handler of the user's, which can raise as well.
            traceback.print_exception(error)


_runner = _Runner()


def run_soon(function: Callable[[], object]) -> None:
    """Have `function()` called, after all that was given before. What it raises is logged."""
    _runner.run_soon(function)


def settle(timeout: float) -> None:
    """Wait until all that was given has been called, or `timeout` seconds are over."""
    _runner.settle(timeout)


def _after_fork_in_child() -> None:
    global _runner
    _runner = _Runner()  # What was to be called is for the parent to call.


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
