"""Large payloads: lent by the sidecar as memory the client maps, instead of copied through a socket.

A result of megabytes would cost the client's process several copies of it, whether or not anybody reads
it. An anonymous file costs it nothing until then, leaves nothing on disk, and needs no `/dev/shm`.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref

__all__ = ["LARGE", "borrow", "can_borrow", "lend"]

LARGE = 256 * 1024
"""Bytes from which lending is cheaper than sending."""


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
    """The payload that process `pid` lends as `fd`; freed with its last view.

    Not by `mmap.mmap`, which before Python 3.13 keeps a descriptor open for as long as the memory is
    used: a program may hold on to thousands of results.
    """
    own = os.open(f"/proc/{pid}/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        address = _mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, own, 0)
    finally:
        os.close(own)
    if address == _MAP_FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    memory = (ctypes.c_ubyte * size).from_address(address)
    weakref.finalize(memory, _munmap, address, size).atexit = False
    return memoryview(memory).cast("B").toreadonly()


_libc = ctypes.CDLL(None, use_errno=True)
_mmap = _libc.mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_munmap = _libc.munmap
_munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_MAP_FAILED = ctypes.c_void_p(-1).value
