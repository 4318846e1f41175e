"""Threads that wait their turn for a core instead of taking it from whoever runs.

By default Linux lets a thread that wakes up interrupt one that has run for a while. Each answer of the
server wakes three threads in turn, for microseconds each, so that hundreds of requests in flight cost
tens of thousands of interruptions a second, of each other and of the user's program. Under the policy
`SCHED_BATCH` a thread gets just as much of the cores, but is not given one before its turn: by then more
has come, and is dealt with at once. On an idle core it runs immediately all the same. Other systems have no
such policy, and nothing changes there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tinker_sidecar.system import schedule_as_batch, schedule_as_usual

__all__ = ["starting_batch_threads"]


@contextlib.contextmanager
def starting_batch_threads() -> Iterator[None]:
    """Threads that this one starts within are patient; this one is as before in the end."""
    changed = schedule_as_batch()
    try:
        yield
    finally:
        if changed:
            schedule_as_usual()
