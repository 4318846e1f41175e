"""How Linux gives this thread a core, and which it may have."""

from __future__ import annotations

import os
import sys

assert sys.platform == "linux"

__all__ = ["schedule_as_batch", "schedule_as_usual", "usable_cores"]


def schedule_as_batch() -> bool:
    """Have this thread, and those that it starts, wait their turn. False: they do already, or may not."""
    try:
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
            return True
    except OSError:
        pass
    return False


def schedule_as_usual() -> None:
    """Have this thread interrupt others again when it wakes up."""
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def usable_cores() -> int:
    """How many of the machine's cores this process may use."""
    return len(os.sched_getaffinity(0))
