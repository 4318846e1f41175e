"""Waiting for futures under trio, which has an event loop of its own kind."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator
from typing import Any

__all__ = ["in_trio", "wait_in_trio"]


def in_trio() -> bool:
    """Whether a task of trio's runs this, found out without importing trio."""
    trio = sys.modules.get("trio")
    if trio is None:
        return False
    try:
        return bool(trio.lowlevel.in_trio_task())
    except AttributeError:  # It is older than 0.23, or another thread is importing it.
        return _has_task(trio)


def _has_task(trio: Any) -> bool:
    try:
        trio.lowlevel.current_task()
    except (AttributeError, RuntimeError):
        return False
    return True


def wait_in_trio(wake_when_done: Callable[[Callable[[object], None]], bool]) -> Generator[Any, None, None]:
    """Wait in the current task until what `wake_when_done` is given is called, unless that returns False.

    Raises `trio.Cancelled`, as every checkpoint does.
    """
    import trio

    token, done = trio.lowlevel.current_trio_token(), trio.Event()

    def wake(_: object) -> None:
        with contextlib.suppress(trio.RunFinishedError):  # trio has ended, and with it whoever waited.
            token.run_sync_soon(done.set)

    if wake_when_done(wake):
        yield from done.wait().__await__()
