"""How tests wait for what comes of its own accord: by looking for it, again and again."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

__all__ = ["PATIENCE", "has_ended", "wait_until"]

PATIENCE = 30.0
"""Seconds after which what a test waits for counts as missing: below the time-out of a test, so that the
failure names the wait, and far above what anything here takes on a busy machine."""


def wait_until(
    condition: Callable[[], object], *, show: Callable[[], object] | None = None, patience: float = PATIENCE
) -> None:
    """Return once `condition` holds. When it never does, the test fails, with what `show` returns then."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            shown = "" if show is None else f": {show()}"
            raise AssertionError(f"still not so after {patience:g} s{shown}")
        time.sleep(0.02)


def has_ended(pid: int) -> bool:
    """Whether process `pid` is over. It may be a zombie: there may be nobody left to reap it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
