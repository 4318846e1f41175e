"""The HTTP library's thread, on which all of this process's requests are sent and received.

It is started before anything is asked: where the library gets no thread it aborts the process.
"""

from __future__ import annotations

import functools

from wreq import Runtime

from tinker_sidecar.ipc.batch_scheduling import starting_batch_threads
from tinker_sidecar.processes.room import check_descriptors, check_threads

__all__ = ["http_runtime", "start_http_runtime"]

_DESCRIPTORS = 16
_THREADS = 2
"""The one that stays, and one that looks up addresses and goes when there have been none for a while."""


@functools.cache
def start_http_runtime(besides: int) -> None:
    """Have the thread, with room for as many `besides` as the caller is about to start.

    Raises `RuntimeError` or `OSError` if there is none; when there is, the next call finds it.
    """
    check_descriptors(_DESCRIPTORS)
    check_threads(_THREADS + besides)
    http_runtime()


@functools.cache
def http_runtime() -> Runtime:
    """The thread, for clients. What one thread receives is more than one interpreter can use."""
    check_threads(_THREADS)
    with starting_batch_threads():
        return Runtime(workers=1, thread_name="tinker-http")
