"""The sidecars of this user on this machine, found by their folders, and what each says when it is asked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from tinker_sidecar.ipc.folders import FOLDER_PREFIX, is_own_folder, own_folders, places
from tinker_sidecar.ipc.shared import SHARED_PREFIX
from tinker_sidecar.ipc.stats import Stats
from tinker_sidecar.system import bound_sockets
from tinker_sidecar.watch.questions import ABOUT, NONSENSE, SOCKET, About, Question

__all__ = ["NONE_RUNNING", "SILENT", "Seen", "ask", "ask_all", "sidecars"]

NONE_RUNNING = "No sidecars of yours run on this machine."
SILENT = "does not answer"

_PATIENCE = 1.0
"""Seconds that a sidecar gets to answer: its event loop never blocks for as long."""
_LONGEST_ANSWER = 1 << 26
_LONGEST_ABOUT = 1 << 16


@dataclass(frozen=True)
class Seen:
    """A sidecar, and what it answered."""

    about: About
    stats: Stats | None
    """Its answer."""
    problem: str = ""
    """Why there is none."""


def sidecars() -> dict[Path, About]:
    """The folders of this user's sidecars, with whose they are. Some of them may be dead."""
    return dict(sorted(_described(_folders()), key=lambda found: found[1].pid))


async def ask_all(pending: int = 0) -> list[Seen]:
    """What each of this user's sidecars says, in the order of their pids; see `ask`."""
    answered = await asyncio.gather(*(ask(folder, about, pending) for folder, about in sidecars().items()))
    return [seen for seen in answered if seen is not None]


async def ask(folder: Path, about: About, pending: int = 0) -> Seen | None:
    """What the sidecar in `folder` says of itself and of up to `pending` requests; None: it is dead.

    One that hangs, or is stopped, has a second.
    """
    try:
        async with asyncio.timeout(_PATIENCE):
            stats = await _exchange(folder / SOCKET, Question(pending=pending))
    except (ConnectionRefusedError, FileNotFoundError):
        return None  # A dead one's socket refuses, and its folder may be removed at any time.
    except (OSError, TimeoutError):
        return Seen(about, None, SILENT)
    except NONSENSE:
        return Seen(about, None, "answers in a way that this version does not understand")
    return Seen(about, stats)


async def _exchange(socket: Path, question: Question) -> Stats:
    """Raises `OSError` if there is no answer, and one of `NONSENSE` if it makes no sense."""
    reader, writer = await asyncio.open_unix_connection(socket, limit=_LONGEST_ANSWER)
    try:
        writer.write(msgspec.json.encode(question) + b"\n")
        line = await reader.readline()
    finally:
        writer.close()
    if not line:
        raise ConnectionResetError("it hung up")
    return msgspec.json.decode(line, type=Stats)


def _folders() -> Iterator[Path]:
    """Those in the usual places, and others that the system tells: their programs have another `TMPDIR`."""
    found = {folder for place in places() for folder in own_folders(os.path.realpath(place))}
    for meeting_place in [
        one for place in places() for one in own_folders(os.path.realpath(place), SHARED_PREFIX)
    ]:
        with contextlib.suppress(OSError):
            found.update(folder for folder in meeting_place.iterdir() if is_own_folder(folder))
    yield from found
    for socket in bound_sockets():
        folder = socket.parent
        named_so = socket.name == SOCKET and (
            folder.name.startswith(FOLDER_PREFIX) or folder.parent.name.startswith(SHARED_PREFIX)
        )
        if named_so and folder not in found and is_own_folder(folder):
            yield folder


def _described(folders: Iterable[Path]) -> Iterator[tuple[Path, About]]:
    """Those that say whose they are, which a sidecar does as soon as it can be asked."""
    for folder in folders:
        with contextlib.suppress(OSError, *NONSENSE):
            about = msgspec.json.decode(_read(folder / ABOUT), type=About)
            yield folder, msgspec.structs.replace(about, command=_command_line(about))


def _command_line(about: About) -> str:
    """The whole of it, which the system tells those it may; or else the name that the program gave itself."""
    with contextlib.suppress(psutil.Error):
        return " ".join(psutil.Process(about.program).cmdline()) or about.command
    return about.command


def _read(path: Path) -> bytes:
    """The beginning of a file; nothing of anything else that lies there by its name. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return b""
        return os.read(descriptor, _LONGEST_ABOUT)
    finally:
        os.close(descriptor)
