"""Ending with the parent process, however it ends."""

from __future__ import annotations

import asyncio
import os
import sys

__all__ = ["end_with_parent"]


def end_with_parent(pid: int) -> None:
    """Exit this process as soon as its parent `pid` is gone. Call it on the event loop's thread."""
    loop = asyncio.get_running_loop()
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        os._exit(0)
    except (AttributeError, OSError):
        # No pidfd here. The parent holds the other end of stdin, which ends with it.
        watched = sys.stdin.fileno()
    loop.add_reader(watched, os._exit, 0)
    # It may have died, and its number gone to another process, before the watch was armed.
    if os.getppid() != pid:
        os._exit(0)
