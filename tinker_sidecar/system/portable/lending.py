"""No memory is lent: large payloads are sent over the socket, like small ones.

A file in the socket's folder could be lent, too. But it would be written to disk, where a process that is
killed would leave megabytes.
"""

from __future__ import annotations

import errno

__all__ = ["borrow", "can_borrow", "lend"]


def can_borrow() -> bool:
    """Whether this process can map memory that another lends: no. A sidecar that is told so sends."""
    return False


def lend(payload: bytes) -> int:
    """Raises `OSError`, upon which the payload is sent."""
    raise OSError(errno.ENOTSUP, "no memory to lend here")


def borrow(pid: int, fd: int, size: int) -> memoryview:
    """Raises `OSError`, upon which the payload is sent."""
    raise OSError(errno.ENOTSUP, "no memory to borrow here")
