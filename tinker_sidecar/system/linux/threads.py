"""The threads of this process, as Linux knows them."""

from __future__ import annotations

import time
from pathlib import Path

__all__ = ["has_thread", "processor_time"]

_TASKS = Path("/proc/self/task")


def has_thread(native_id: int | None) -> bool:
    """Whether the system still counts this thread: one that has been joined may be, for a moment."""
    return (_TASKS / str(native_id)).exists()


def processor_time(native_id: int) -> float:
    """Seconds that this thread has taken of the processors; 0 for one that has ended."""
    # The number of its clock, as Linux makes it. Python's own function for it may crash if the thread ends.
    clock = (~native_id << 3) | 6
    try:
        return time.clock_gettime(clock)
    except (OSError, OverflowError):
        return 0.0
