"""Locks on files, which end with the last process that has the file open.

`flock` is BSD's, so macOS has it, too. Some file systems do not, such as an NFS without its lock service, and
say so when they are asked.
"""

from __future__ import annotations

import errno
import os

try:
    import fcntl
except ModuleNotFoundError:  # Windows, where importing this package is no error yet.
    fcntl = None  # type: ignore[assignment]  # A module is no type that could be optional.

__all__ = ["lock"]


def lock(descriptor: int) -> None:
    """Lock a file. Raises `BlockingIOError` if another process has, another `OSError` if it has no locks."""
    if fcntl is None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
