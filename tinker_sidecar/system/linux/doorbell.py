"""A doorbell made of Linux's epoll."""

from __future__ import annotations

import contextlib
import ctypes
import platform
import select
import sys

from tinker_sidecar.system.bell import Doorbell, Ring

assert sys.platform == "linux"

__all__ = ["open_doorbell"]

_EPOLL_CTL_MOD = 3


def open_doorbell(results_fd: int, exit_fd: int) -> Doorbell:
    """A doorbell that rings when one of the two can be read."""
    return _EpollDoorbell(results_fd, exit_fd)


class _EpollEvent(ctypes.Structure):
    # Linux declares the struct as packed on x86-64 alone.
    _pack_ = 1 if platform.machine() == "x86_64" else 8
    _layout_ = "ms"  # The only one that is packed; Python 3.14 wants it said.
    _fields_ = (("events", ctypes.c_uint32), ("data", ctypes.c_uint64))


class _EpollDoorbell:
    """`epoll.modify` gives up the GIL and would have to wait for it, so `epoll_ctl` is called through
    `ctypes.PyDLL`, which keeps it. Relies on Linux's layout of `epoll_event`; every test of the sidecar fails
    where that differs, and benchmarks/bench_gil_contention.py shows when the GIL is given up.
    """

    def __init__(self, results_fd: int, exit_fd: int) -> None:
        self._results_fd = results_fd
        self._exit_fd = exit_fd
        self._epoll = select.epoll()
        self._epoll.register(results_fd, select.EPOLLIN | select.EPOLLONESHOT)
        self._epoll.register(exit_fd, select.EPOLLIN)
        self._epoll_ctl = ctypes.PyDLL(None).epoll_ctl
        self._ringing = _EpollEvent(select.EPOLLIN | select.EPOLLONESHOT, results_fd)
        self._muted = _EpollEvent(0, results_fd)

    def wait(self, timeout: int) -> Ring:
        rung = [fd for fd, _ in self._epoll.poll(timeout / 1000)]
        if self._exit_fd in rung:
            return Ring.EXIT
        return Ring.RESULTS if rung else Ring.NONE

    def mute(self) -> None:
        self._modify(self._muted)

    def unmute(self) -> None:
        self._modify(self._ringing)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._epoll.close()

    def _modify(self, event: _EpollEvent) -> None:
        if not self._epoll.closed:
            self._epoll_ctl(self._epoll.fileno(), _EPOLL_CTL_MOD, self._results_fd, ctypes.byref(event))
