"""How the system gives this thread a core: as it sees fit, and any of them."""

from __future__ import annotations

import os

__all__ = ["schedule_as_batch", "schedule_as_usual", "usable_cores"]


def schedule_as_batch() -> bool:
    """Whether this thread waits its turn from now on: no."""
    return False


def schedule_as_usual() -> None:
    """Nothing was changed, so nothing is to be undone."""


def usable_cores() -> int:
    """How many cores the machine has."""
    return os.cpu_count() or 1
