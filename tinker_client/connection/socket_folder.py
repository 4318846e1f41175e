"""The folder in which a sidecar has its sockets and its log: where it may lie, and what others left behind.

A sidecar removes its folder when it ends. One that was killed cannot, so the next to be started does. The
folder of a living sidecar is known by the lock on the `log` in it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import stat
import tempfile
import time
from pathlib import Path
from typing import IO

from tinker_client.errors import SidecarStartupError
from tinker_sidecar.ipc.folders import FOLDER_PREFIX, own_folders, places
from tinker_sidecar.ipc.shared import ATTACH, LOCK, SHARED_PREFIX
from tinker_sidecar.processes.exits import remove_folder
from tinker_sidecar.system import LONGEST_SOCKET_PATH
from tinker_sidecar.system.locks import lock

__all__ = ["create_locked_log", "make_socket_folder", "open_log", "remove_left_folders", "unfit_place"]

_LOG = "log"
_LONGEST = LONGEST_SOCKET_PATH - len("/a-socket's-name")
"""Bytes of a folder's path."""
_STARTING = 60.0
"""Seconds: a folder that is younger may belong to a sidecar that has yet to be started."""
_UNKNOWN_USER = 65534
"""In a user namespace, whoever owns what is from outside of it, as `/` and `/tmp` may be."""


def make_socket_folder() -> str:
    """A fresh folder that only this user may enter, under a path short enough for a socket.

    Raises `SidecarStartupError`, with what is wrong with each place, where there is none for it.
    """
    reasons = []
    for name in places():
        parent = os.path.realpath(name)
        try:
            reason = unfit_place(parent, len(f"/{FOLDER_PREFIX}12345678"))
            if reason is None:
                remove_left_folders(parent)
                return tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=parent)
        except OSError as error:
            reason = f"{errno.errorcode.get(error.errno or 0, '')} {error.strerror}"
        reasons.append(f"{parent if _is_utf8(parent) else ascii(parent)}: {reason}")
    raise SidecarStartupError("no folder for the sidecar's socket; tried " + "; ".join(reasons))


def create_locked_log(folder: str) -> IO[bytes]:
    """A new log in `folder`, open and locked, for a child to inherit.

    The lock is held until the last copy of this descriptor is closed. Once we have closed ours that is the
    child's, so the lock says that the child lives.
    """
    log = (Path(folder) / _LOG).open("wb")
    with contextlib.suppress(OSError):  # Some file systems have no locks.
        lock(log.fileno())
    return log


def open_log(folder: str) -> IO[bytes]:
    """The log in `folder`, to read. Raises `OSError` if it is gone."""
    return (Path(folder) / _LOG).open("rb")


def unfit_place(parent: str, name: int) -> str | None:
    """Why a folder for sockets, whose name has so many bytes, must not be made in `parent`; None if it may.

    Raises `OSError`.
    """
    if not _is_utf8(parent):
        return "not UTF-8"
    if len(os.fsencode(parent)) + name > _LONGEST:
        return "too long a path for a socket"
    return _open_to_others(parent)


def _is_utf8(path: str) -> bool:
    """Whether a path can be told the sidecar and libzmq, who want UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _open_to_others(parent: str) -> str | None:
    """What would let others put a folder of theirs in the place of ours, if anything, on the whole way up.

    Where anybody may write, as in `/tmp`, the sticky bit keeps them from it.
    """
    for folder in (Path(parent), *Path(parent).parents):
        found = folder.stat()
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX:
            return f"others may write to {folder}, which has no sticky bit"
        if found.st_uid not in (0, os.geteuid(), _UNKNOWN_USER):
            return f"{folder} is another user's"
    return None


def remove_left_folders(parent: str) -> None:
    """Remove the folders of sidecars that were killed along with their parents, as by a container's end."""
    for folder in own_folders(parent):
        with contextlib.suppress(OSError):  # Its log is locked, or not there.
            if time.time() - folder.lstat().st_mtime > _STARTING:
                _remove_unless_locked(folder)
    for folder in own_folders(parent, SHARED_PREFIX):
        with contextlib.suppress(OSError):
            if time.time() - folder.lstat().st_mtime > _STARTING:
                _remove_unless_shared(folder)


def _remove_unless_shared(folder: Path) -> None:
    """Remove a meeting place where no sidecar listens. Raises `OSError` if somebody is about to start one."""
    with (folder / LOCK).open("rb") as file, socket.socket(socket.AF_UNIX) as visitor:
        lock(file.fileno())
        try:
            visitor.connect(str(folder / ATTACH))
        except (ConnectionRefusedError, FileNotFoundError):
            shutil.rmtree(folder, ignore_errors=True)


def _remove_unless_locked(folder: Path) -> None:
    """Raises `OSError` if the log in `folder` is locked, which means that its sidecar lives."""
    try:
        # Opening a FIFO that somebody has put there would block without O_NONBLOCK.
        log = os.open(folder / _LOG, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        folder.rmdir()  # If it is empty, whoever made it or was about to remove it has been killed.
        return
    try:
        if stat.S_ISREG(os.fstat(log).st_mode):
            lock(log)
            remove_folder(str(folder))
    finally:
        os.close(log)
