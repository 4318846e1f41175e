"""Noticing the end of the parent process, however it ends."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable

from tinker_sidecar.system import watch_process

__all__ = ["watch_parent"]


def watch_parent(pid: int, gone: Callable[[], object], *, or_stdin: bool = False) -> None:
    """Call `gone` as soon as process `pid`, the parent of this one, has ended, however it did.

    To be called on the event loop's thread. `gone` may be called more than once.

    Stdin is a pipe whose other end the parent has. That ends with the parent, too, but not while a process
    which the parent has forked holds it open, so what is watched is the process itself. With `or_stdin` the
    end of stdin counts as well, because the parent closes that pipe to have this process end.
    """
    watch_process(pid, gone)
    if os.getppid() != pid:
        # The parent ended before the watch began, and its pid may be another process's by now.
        gone()
    elif or_stdin:
        stdin = sys.stdin.fileno()
        asyncio.get_running_loop().add_reader(stdin, _call_at_end, stdin, gone)


def _call_at_end(descriptor: int, gone: Callable[[], object]) -> None:
    if not os.read(descriptor, 4096):
        asyncio.get_running_loop().remove_reader(descriptor)  # It stays readable, and would call again.
        gone()
