"""Other processes, as Linux shows them: their ends by pidfd, and the rest in `/proc`."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from tinker_sidecar.system.portable.processes import open_sockets as ask_for_sockets
from tinker_sidecar.system.portable.processes import watch_process as watch_by_asking

assert sys.platform == "linux"

__all__ = ["is_stopped", "open_sockets", "start_of", "watch_process"]


def watch_process(pid: int, gone: Callable[[], object]) -> None:
    """Call `gone` on the running loop as soon as process `pid`, the parent of this one, has ended.

    By a pidfd: a descriptor that the system makes readable when the process ends.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except (AttributeError, OSError):  # An old Python or Linux, or forbidden, or the process has ended.
        watch_by_asking(pid, gone)
    else:
        import asyncio  # Programs that use the other functions have no need of it.

        asyncio.get_running_loop().add_reader(pidfd, gone)


def is_stopped(pid: int) -> bool:
    """Whether process `pid` is stopped, by a signal or a debugger. False where the system does not tell."""
    state = _fields(pid)[:1]
    return state in (["T"], ["t"])


def start_of(pid: int) -> str | None:
    """When process `pid` was started, in ticks since the machine was; None where the system does not tell."""
    fields = _fields(pid)
    return fields[19] if len(fields) > 19 else None


def open_sockets() -> int:
    """How many sockets of all kinds this process has.

    The twin's psutil looks up for each where it leads, which takes long.
    """
    try:
        with os.scandir("/proc/self/fd") as descriptors:
            return sum(map(_leads_to_socket, descriptors))
    except FileNotFoundError:  # There is no `/proc` here.
        return ask_for_sockets()


def _leads_to_socket(descriptor: os.DirEntry[str]) -> bool:
    try:
        return stat.S_ISSOCK(descriptor.stat().st_mode)
    except OSError:  # It has been closed meanwhile.
        return False


def _fields(pid: int) -> list[str]:
    """What Linux says of a process, from its state on. Nothing if there is no such process, or no `/proc`."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    # Before that is the command's name in brackets, and it may contain brackets and blanks itself.
    return status.rpartition(")")[2].split()
