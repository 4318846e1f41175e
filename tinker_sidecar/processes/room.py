"""Room for what libraries are about to open, as some do not take no for an answer.

libzmq and the HTTP library abort the process if they get no thread, and libzmq if it gets no descriptor.
"""

from __future__ import annotations

import os
import threading
from time import monotonic, sleep

from tinker_sidecar.system import has_thread

__all__ = ["check_descriptors", "check_threads", "fill_standard_descriptors"]

_GONE_WITHIN = 1.0


def check_threads(count: int) -> None:
    """Raise `RuntimeError` unless `count` more threads can be started now."""
    end = threading.Event()
    threads = [threading.Thread(target=end.wait, daemon=True) for _ in range(count)]
    started: list[threading.Thread] = []
    try:
        for thread in threads:
            thread.start()
            started.append(thread)
    except RuntimeError as error:
        raise RuntimeError(
            f"{error}: {count} more are needed than this user, or container, has now; "
            "`ulimit -u` and the container's pids limit say how many there may be"
        ) from error
    finally:
        end.set()
        for thread in started:
            thread.join()
        _wait_until_gone(started)


def check_descriptors(count: int) -> None:
    """Raise `OSError` unless `count` more descriptors can be opened now."""
    taken: list[int] = []
    try:
        while len(taken) < count:
            taken += os.pipe()
    finally:
        for descriptor in taken:
            os.close(descriptor)


def fill_standard_descriptors() -> None:
    """Open those of 0 to 2 that are closed, lest they become ours.

    libuv aborts the process over one of its own down there, and whatever prints would print into a socket.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # Takes the lowest number.


def _wait_until_gone(joined: list[threading.Thread]) -> None:
    """A joined thread has run all its Python, but may still count for the system's limit."""
    deadline = monotonic() + _GONE_WITHIN
    while any(has_thread(thread.native_id) for thread in joined) and monotonic() < deadline:
        sleep(0.001)
