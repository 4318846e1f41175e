"""Memory that one process lends another: an anonymous file, which the other opens through `/proc`.

It leaves nothing on disk and needs no `/dev/shm`.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys

assert sys.platform == "linux"

__all__ = ["borrow", "can_borrow", "lend"]


def can_borrow() -> bool:
    """Whether this system has what lending takes: a `/proc` that knows processes by our numbers, too.

    In a pid namespace without a `/proc` of its own, the sidecar's number is somebody else's there.
    """
    try:
        return hasattr(os, "memfd_create") and os.readlink("/proc/self") == str(os.getpid())  # noqa: PTH115
    except OSError:
        return False


def lend(payload: bytes) -> int:
    """A descriptor of memory that holds `payload`, to keep until the client has borrowed it."""
    fd = os.memfd_create("tinker-sidecar-payload")
    try:
        view = memoryview(payload)
        while view:
            view = view[os.write(fd, view) :]
    except BaseException:
        os.close(fd)
        raise
    return fd


def borrow(pid: int, fd: int, size: int) -> memoryview:
    """The payload that process `pid` lends as `fd`; freed with its last view. Keeps the GIL all the while.

    It takes the place of an `mmap.mmap` of nothing, which frees it without running a line of Python that
    Ctrl-C could interrupt. Made for `fd` itself, that would before Python 3.13 keep a descriptor open for
    as long as the memory is used: a program may hold on to thousands of results.
    """
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    own = _checked(_open(b"/proc/%d/fd/%d" % (pid, fd), os.O_RDONLY | os.O_CLOEXEC))
    try:
        _checked(_mmap(address, size, mmap.PROT_READ, mmap.MAP_SHARED | _MAP_FIXED, own, 0))
    finally:
        _close(own)
    return memoryview(memory).toreadonly()


def _checked(result: int) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


_libc = ctypes.PyDLL(None, use_errno=True)
_open = _libc.open
_close = _libc.close
_mmap = _libc.mmap
_mmap.restype = ctypes.c_ssize_t
_mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_MAP_FIXED = 0x10  # Its value on Linux; the `mmap` module has no name for it.
