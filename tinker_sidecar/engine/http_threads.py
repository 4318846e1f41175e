"""The HTTP library's threads, which it starts with its first request and keeps as long as the process lives.

If it does not get them all it never answers, then or later, so they are started before anything is asked.
"""

from __future__ import annotations

import contextlib
import functools
import os

from pyqwest import SyncClient, SyncHTTPTransport

from tinker_sidecar.ipc.batch_scheduling import starting_batch_threads
from tinker_sidecar.processes.room import check_descriptors, check_threads
from tinker_sidecar.system import usable_cores

__all__ = ["start_http_threads"]

_DESCRIPTORS = 16
_PASSING = 1
"""Threads that come with a request and go when there has been none for a while."""


@functools.cache
def start_http_threads(besides: int) -> None:
    """Have the threads, with room for as many `besides` as the caller is about to start.

    Raises `RuntimeError` or `OSError` if there is none; when there is, the next call finds it.
    """
    check_descriptors(_DESCRIPTORS)
    check_threads(_workers() + _PASSING + besides)
    client = SyncClient(SyncHTTPTransport(enable_otel=False))
    # It does not do files, and has its threads when it says so.
    with starting_batch_threads(), contextlib.suppress(RuntimeError):
        client.get("file:///")


def _workers() -> int:
    """As tokio counts them: one a core, unless the environment says otherwise."""
    try:
        return int(os.environ["TOKIO_WORKER_THREADS"])
    except (KeyError, ValueError):
        return usable_cores()
