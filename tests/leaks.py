"""What this process has taken from the machine, to compare before and after a test."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import re
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import uvloop

from tinker_sidecar.engine.http_runtime import http_runtime

__all__ = ["belongings", "leaked", "open_library_runtimes"]

GRACE = 5.0
"""Seconds that what is ending may take: a killed process to be reaped, a thread to return."""


def open_library_runtimes() -> None:
    """What wreq, libuv and, in some builds, libffi keep for the life of the process is nobody's leak."""
    ctypes.PyDLL(None)
    uvloop.new_event_loop().close()
    http_runtime()


def belongings() -> Counter[str]:
    """What a test could leave behind, counted under names that tell a reader what it is."""
    return Counter([*_processes(), *_shared_sidecars(), *_threads(), *_descriptors(), *_socket_folders()])


def leaked(before: Counter[str]) -> list[str]:
    """What there is now and was not `before`, once what is on its way out has had its time."""
    deadline = time.monotonic() + GRACE
    while (new := belongings() - before) and time.monotonic() < deadline:
        gc.collect()  # A cycle may hold the last reference to a socket or pipe.
        time.sleep(0.05)
    return sorted(new.elements())


def _processes() -> Iterator[str]:
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            yield f"process {process.pid}: {' '.join(process.cmdline()) or process.status()}"


def _shared_sidecars() -> Iterator[str]:
    """Those of our temporary folder, which are nobody's children. They linger for a moment."""
    place = os.fsencode(f"TMPDIR={tempfile.gettempdir()}")
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # It has ended.
            is_one = (process / "cmdline").read_bytes().endswith(b"\0tinker_sidecar.hub\0")
            if is_one and place in (process / "environ").read_bytes():
                yield f"shared sidecar {process.name}"


def _threads() -> Iterator[str]:
    """Libraries may keep daemon threads; this project may not."""
    for thread in threading.enumerate():
        if not thread.daemon or thread.name.startswith("tinker-"):
            yield f"thread {thread.name}"


def _descriptors() -> Iterator[str]:
    for descriptor in os.listdir("/proc/self/fd"):  # noqa: PTH208
        # The one that listed the folder is gone by now.
        with contextlib.suppress(FileNotFoundError):
            target = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115
            yield "descriptor of a " + re.sub(r":\[\d+\]$", "", target)


def _socket_folders() -> Iterator[str]:
    for pattern in ("tinker-sidecar-*", "tinker-sidecars-*"):
        for folder in Path(tempfile.gettempdir()).glob(pattern):
            yield f"folder {folder}"
