"""Other processes, as any Unix shows them."""

from __future__ import annotations

import os
from collections.abc import Callable

__all__ = ["is_stopped", "open_sockets", "start_of", "watch_process"]

_ASK_EVERY = 0.5


def watch_process(pid: int, gone: Callable[[], object]) -> None:
    """Call `gone` on the running loop soon after process `pid`, the parent of this one, has ended.

    Every Unix gives a process whose parent ends another parent, so `getppid` is asked twice a second.
    Which one it gets does not matter: not everywhere is it process 1.
    """
    if os.getppid() != pid:
        gone()
    else:
        import asyncio  # Programs that use the other functions have no need of it.

        asyncio.get_running_loop().call_later(_ASK_EVERY, watch_process, pid, gone)


def is_stopped(pid: int) -> bool:
    """Whether process `pid` is stopped, by a signal or a debugger. False where the system does not tell."""
    import psutil  # Slow to import, and rarely needed.

    try:
        return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    except psutil.Error:
        return False


def start_of(pid: int) -> str | None:
    """When process `pid` was started, in seconds since 1970; None where the system does not tell."""
    import psutil

    try:
        return f"{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return None


def open_sockets() -> int:
    """How many sockets of all kinds this process has."""
    import psutil

    return len(psutil.Process().net_connections("all"))
