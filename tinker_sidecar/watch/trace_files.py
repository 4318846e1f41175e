"""Which files a trace is kept in: one for each process, and older parts beside it.

A program's processes share their environment, so all of them are told the same path. The first gets it, and
each other one a file with its pid in the name. A lock tells whether the process that writes a file is still
alive. A file that an earlier run of the program has left is overwritten; one that is no trace is not.
"""

from __future__ import annotations

import errno
import glob
import os
import stat
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import UNSET

from tinker_sidecar.system import start_of
from tinker_sidecar.system.locks import lock
from tinker_sidecar.watch.trace_events import Origin, TraceEvent

__all__ = [
    "KEPT",
    "Claim",
    "NotOurTraceError",
    "claim",
    "group_of",
    "identity_of",
    "origin_in",
    "parts_of",
    "rotate",
    "traces_of_others",
]

KEPT = 8
"""Files of one trace, the one that is being written among them."""

_HEAD = 1 << 16
"""Bytes that a file's first event has room in."""


class NotOurTraceError(Exception):
    """A file has something else in it than a trace written here."""


def parts_of(path: Path) -> list[Path]:
    """The files that a trace at `path` may have, the newest, `path` itself, first."""
    return [path, *(path.with_name(f"{path.stem}.{number}{path.suffix}") for number in range(1, KEPT))]


def traces_of_others(path: Path) -> list[Path]:
    """Those of further processes that were told the same `path`."""
    siblings = path.parent.glob(f"{glob.escape(path.stem)}-*{glob.escape(path.suffix)}")
    return sorted(one for one in siblings if one.stem.removeprefix(f"{path.stem}-").isdecimal())


class Claim(NamedTuple):
    """A file that is ours to write."""

    path: Path
    descriptor: int
    """Open, empty and locked."""
    broke_off: float | None = None
    """If an engine of this process died over the trace that was there: when, in seconds since 1970."""


def claim(path: Path, program: int) -> Claim:
    """The file that the trace of process `program` goes to. Raises `OSError` if there can be none."""
    path = Path(os.path.realpath(path))  # What is renamed is then the file, and not a link to it.
    own = path.with_name(f"{path.stem}-{program}{path.suffix}")
    for candidate in (path, own):
        descriptor = _open(candidate, os.O_CREAT)
        try:
            if _lock(descriptor) and (
                claimed := _emptied(candidate, descriptor, program, shared=candidate != own)
            ):
                return claimed
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise OSError(errno.EBUSY, f"another process writes to {own}")


def rotate(path: Path) -> int:
    """Each part becomes the one before it, and the oldest is gone. A descriptor of a new, locked `path`."""
    for newer, older in reversed([*pairwise(parts_of(path))]):
        if newer.exists():
            newer.replace(older)
    # Should another process have made one in this moment, it is that process's.
    descriptor = _open(path, os.O_CREAT | os.O_EXCL)
    _lock(descriptor)
    return descriptor


def origin_in(head: bytes) -> Origin:
    """Whose trace begins with `head`. Raises `NotOurTraceError`."""
    first_line = head.removeprefix(b"[\n").partition(b"\n")[0].rstrip(b",")
    try:
        event = msgspec.json.decode(first_line, type=TraceEvent)
        return msgspec.convert({} if event.args is UNSET else event.args, Origin)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotOurTraceError from error


def identity_of(pid: int) -> str:
    """A name for process `pid` that no other process gets, not even one that gets its pid later."""
    started = start_of(pid)
    return f"{pid}" if started is None else f"{pid} of {started}"


def group_of(pid: int) -> str:
    """A name for its process group: what a shell starts for one command, and what comes of that."""
    try:
        return identity_of(os.getpgid(pid))
    except OSError:
        return identity_of(pid)


def _open(path: Path, flags: int) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # To rename /dev/null would be a bad idea.
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a file")
    return descriptor


def _lock(descriptor: int) -> bool:
    """Whether nobody else writes this file. Where files cannot be locked, nobody does."""
    try:
        lock(descriptor)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _emptied(path: Path, descriptor: int, program: int, *, shared: bool) -> Claim | None:
    """The file, empty; None if it has the trace of another process of this program.

    An earlier engine of the same process, such as a sidecar that has died, leaves older parts of its trace.
    """
    origins = [(part, _origin_of(part)) for part in parts_of(path)]
    newest = origins[0][1]
    if newest is not None and newest.process == identity_of(program):
        broke_off = None if _is_ended(descriptor) else os.fstat(descriptor).st_mtime
        successor = rotate(path)
        os.close(descriptor)
        return Claim(path, successor, broke_off)
    if newest is not None and shared and newest.group == group_of(program):
        return None
    for part, origin in origins[1:]:
        if origin is not None:
            part.unlink()
    os.ftruncate(descriptor, 0)
    return Claim(path, descriptor)


def _is_ended(descriptor: int) -> bool:
    """Whether its trace has been closed: whoever dies over one does not write the array's bracket."""
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, 2, max(0, size - 2)) == b"]\n"


def _origin_of(path: Path) -> Origin | None:
    """None: there is no such file, or it is empty."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError:
        return None
    try:
        return origin_in(head) if head else None
    except NotOurTraceError as error:
        raise OSError(
            errno.EEXIST, f"{path} has something else in it than a trace, and is not overwritten"
        ) from error
