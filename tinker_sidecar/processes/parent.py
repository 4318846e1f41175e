"""Noticing the end of the parent process, however it ends."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable

__all__ = ["watch_parent"]


def watch_parent(pid: int, gone: Callable[[], object], *, or_stdin: bool = False) -> None:
    """Call `gone` as soon as process `pid`, the parent of this one, has ended, however it did.

    To be called on the event loop's thread. `gone` may be called more than once.

    What is watched is a pidfd: a descriptor that the system makes readable when the process ends. Where there
    is none it is stdin, a pipe whose other end the parent has: it ends with the parent, too, but not while a
    process that the parent has forked holds it open. With `or_stdin` the end of stdin always counts, because
    the parent closes that pipe to have this process end.
    """
    loop = asyncio.get_running_loop()
    pidfd = _open_pidfd(pid)
    if pidfd is not None:
        loop.add_reader(pidfd, gone)
    if os.getppid() != pid:
        # The parent ended before the watch began, and its pid may be another process's by now.
        gone()
    elif or_stdin or pidfd is None:
        stdin = sys.stdin.fileno()
        loop.add_reader(stdin, _call_at_end, stdin, gone)


def _open_pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # Not Linux, or forbidden, or the process has ended.
        return None


def _call_at_end(descriptor: int, gone: Callable[[], object]) -> None:
    if not os.read(descriptor, 4096):
        asyncio.get_running_loop().remove_reader(descriptor)  # It stays readable, and would call again.
        gone()
