"""libzmq's threads in this process: one set, for all the sidecars that follow each other.

Where libzmq gets no thread it aborts the process, so it must not need new ones when a sidecar is replaced.
"""

from __future__ import annotations

import os
import threading

import zmq

from tinker_sidecar.ipc.batch_scheduling import starting_batch_threads
from tinker_sidecar.processes.room import check_descriptors, check_threads, fill_standard_descriptors

__all__ = ["borrow_context", "return_context"]

_THREADS = 2
_DESCRIPTORS = 16

_lock = threading.Lock()
_context: zmq.Context[zmq.Socket[bytes]] | None = None
_users = 0


def borrow_context() -> zmq.Context[zmq.Socket[bytes]]:
    """The context, for sockets that are closed before it is returned.

    Raises `RuntimeError` or `OSError` when there is no room for its threads and descriptors.
    """
    global _context, _users
    with _lock:
        if _context is None:
            _context = _start()
        _users += 1
        return _context


def return_context() -> None:
    """The last who returns it ends it."""
    global _context, _users
    with _lock:
        _users -= 1
        if _users == 0 and _context is not None:
            _context.term()
            _context = None


def _start() -> zmq.Context[zmq.Socket[bytes]]:
    fill_standard_descriptors()
    check_descriptors(_DESCRIPTORS)
    check_threads(_THREADS)
    context = zmq.Context()
    with starting_batch_threads():
        context.socket(zmq.PUSH).close()  # It starts its threads with its first socket.
    return context


def _after_fork_in_child() -> None:
    """The parent's threads did not come along. Its context is kept by its channel, and left alone."""
    global _lock, _context, _users
    _lock, _context, _users = threading.Lock(), None, 0


os.register_at_fork(after_in_child=_after_fork_in_child)
