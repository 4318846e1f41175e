"""A doorbell made of `poll` and a pipe."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
from time import monotonic

from tinker_sidecar.system.bell import Doorbell, Ring

__all__ = ["open_doorbell"]


def open_doorbell(results_fd: int, exit_fd: int) -> Doorbell:
    """A doorbell that rings when one of the two can be read."""
    return _PollDoorbell(results_fd, exit_fd)


class _PollDoorbell:
    """What `poll` waits for cannot be changed while it waits, as what epoll waits for can.

    So results that come while the bell is muted wake the thread once; it then waits without them, and is
    woken through a pipe when the bell is unmuted. `ctypes.PyDLL` writes to that, since it keeps the GIL.
    """

    def __init__(self, results_fd: int, exit_fd: int) -> None:
        self._exit_fd = exit_fd
        self._write = ctypes.PyDLL(None).write
        self._wake_fd, self._waking_fd = os.pipe()
        os.set_blocking(self._wake_fd, False)
        os.set_blocking(self._waking_fd, False)
        self._muted = False
        self._waits_muted = False
        """Whether the thread waits without the results, or is about to."""
        self._without_results = select.poll()
        self._with_results = select.poll()
        for poll in (self._without_results, self._with_results):
            poll.register(exit_fd, select.POLLIN)
            poll.register(self._wake_fd, select.POLLIN)
        self._with_results.register(results_fd, select.POLLIN)

    def wait(self, timeout: int) -> Ring:
        deadline = monotonic() + timeout / 1000
        while (left := deadline - monotonic()) > 0:
            if self._wake_fd < 0:
                raise ValueError("the doorbell is closed")
            # In this order: whoever unmutes the bell after the question finds that it must wake this thread.
            self._waits_muted = True
            if not self._muted:
                self._waits_muted = False
            poll = self._without_results if self._waits_muted else self._with_results
            rung = [fd for fd, _ in poll.poll(left * 1000)]
            self._waits_muted = False
            if self._exit_fd in rung:
                return Ring.EXIT
            if self._wake_fd in rung:
                os.read(self._wake_fd, 64)
            elif rung and not self._muted:
                self._muted = True
                return Ring.RESULTS
        return Ring.NONE

    def mute(self) -> None:
        self._muted = True

    def unmute(self) -> None:
        self._muted = False
        if self._waits_muted and self._waking_fd >= 0:
            self._write(self._waking_fd, b".", 1)

    def close(self) -> None:
        descriptors = self._waking_fd, self._wake_fd
        self._waking_fd = self._wake_fd = -1
        for descriptor in descriptors:
            if descriptor >= 0:
                with contextlib.suppress(OSError):  # The program has closed it already.
                    os.close(descriptor)
