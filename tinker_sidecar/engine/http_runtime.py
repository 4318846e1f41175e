"""The HTTP library's thread, on which all of this process's requests are sent and received.

It is started before anything is asked: where the library gets no thread it aborts the process.
"""

from __future__ import annotations

from wreq import Runtime

from tinker_sidecar.ipc.batch_scheduling import starting_batch_threads
from tinker_sidecar.processes.room import check_descriptors, check_threads

__all__ = ["http_runtime"]

_DESCRIPTORS = 16
_THREADS = 2
"""The one that stays, and one that looks up addresses and goes when there have been none for a while."""


_runtime: Runtime | None = None


def http_runtime(besides: int = 0) -> Runtime:
    """The thread, for clients; the first call starts it, with room for as many `besides`.

    Raises `RuntimeError` or `OSError` if there is none; when there is, the next call finds it.
    """
    global _runtime
    if _runtime is None:
        check_descriptors(_DESCRIPTORS)
        check_threads(_THREADS + besides)
        with starting_batch_threads():
            # What one thread receives is more than one interpreter can use.
            _runtime = Runtime(workers=1, thread_name="tinker-http")
    return _runtime
