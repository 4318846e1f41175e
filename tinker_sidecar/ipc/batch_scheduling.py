"""Threads that wait their turn for a core instead of taking it from whoever runs.

By default Linux lets a thread that wakes up interrupt one that has run for a while. Each answer of the
server wakes three threads in turn, for microseconds each, so that hundreds of requests in flight cost
tens of thousands of interruptions a second, of each other and of the user's program. Under the policy
`SCHED_BATCH` a thread gets just as much of the cores, but is not given one before its turn: by then more
has come, and is dealt with at once. On an idle core it runs immediately all the same.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

__all__ = ["schedule_as_batch", "starting_batch_threads"]


def schedule_as_batch() -> bool:
    """Have this thread, and those that it starts, wait their turn. False: not here, or they do already."""
    try:
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
            return True
    except (AttributeError, OSError):  # This is not Linux, or a sandbox that has no other policy.
        pass
    return False


@contextlib.contextmanager
def starting_batch_threads() -> Iterator[None]:
    """Threads that this one starts within are patient; this one is as before in the end."""
    changed = schedule_as_batch()
    try:
        yield
    finally:
        if changed:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
