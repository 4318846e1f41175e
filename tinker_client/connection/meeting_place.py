"""The folder in which a user's processes and the sidecar that they share meet."""

from __future__ import annotations

import errno
import os
import stat
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tinker_client.connection.socket_folder import unfit_place
from tinker_sidecar.ipc import shared
from tinker_sidecar.ipc.folders import places
from tinker_sidecar.ipc.shared import LOCK, SHARED_PREFIX, STARTS
from tinker_sidecar.system.locks import lock

__all__ = ["MeetingPlace", "NotSharedError"]

_LONGEST_PROGRAM = "/9999999"
"""The name of a program's folder in it."""
_MOST_STARTS, _WITHIN = 5, 60.0
_LOCK_EVERY = 0.01
"""Seconds between tries to get the lock."""
_ACCESS = 0o700


class NotSharedError(Exception):
    """There can be no shared sidecar here, for this reason."""


class MeetingPlace:
    """The one of this user and `group` on this machine, made if it is not there.

    It belongs to a version of the protocol, and to the namespaces that this process is in: containers on one
    machine do not see each other's processes, or servers, though they may share a folder.

    Raises `NotSharedError` if there is none that is safe.
    """

    def __init__(self, group: str) -> None:
        self.protocol = shared.PROTOCOL
        self.folder = _folder(group, self.protocol)
        self.make()

    @contextmanager
    def locked(self, deadline: float) -> Iterator[bool]:
        """With the lock that a sidecar is started under; False: the folder has been removed meanwhile.

        Raises `NotSharedError` if it cannot be had.
        """
        try:
            descriptor = os.open(
                self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
        except FileNotFoundError:
            yield False
            return
        except OSError as error:
            raise NotSharedError(f"cannot lock {self.folder / LOCK}: {error.strerror}") from None
        try:
            _lock(descriptor, deadline)
            yield self._is_still(descriptor)
        finally:
            os.close(descriptor)

    def check_starts(self) -> None:
        """Raises `NotSharedError` if too many sidecars have been started here lately."""
        if len(self._starts()) > _MOST_STARTS:
            raise NotSharedError(f"{_MOST_STARTS} have died within a minute")

    def count_start(self) -> None:
        """One more is started here."""
        starts = [*self._starts(), time.time()]
        with suppress(OSError):
            (self.folder / STARTS).write_text("".join(f"{start}\n" for start in starts))

    def _starts(self) -> list[float]:
        """When it was, within the last minute."""
        try:
            starts = map(float, (self.folder / STARTS).read_text().split())
            return [start for start in starts if start > time.time() - _WITHIN]
        except (OSError, ValueError):
            return []

    def _is_still(self, descriptor: int) -> bool:
        """Whether the lock that we have is the one in the folder."""
        try:
            there = (self.folder / LOCK).lstat()
        except OSError:
            return False
        return os.path.samestat(there, os.fstat(descriptor))

    def make(self) -> None:
        """Have the folder, which a sidecar that ends removes. Raises `NotSharedError` if it is not safe."""
        with suppress(FileExistsError):
            self.folder.mkdir(_ACCESS)
        found = self.folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise NotSharedError(f"{self.folder} is not a folder of this user's")
        if stat.S_IMODE(found.st_mode) != _ACCESS:
            raise NotSharedError(f"{self.folder} may be entered by others, or not by its owner")


def _folder(group: str, protocol: int) -> Path:
    kinds = "pid", "mnt", "user", "net"
    namespaces = zlib.crc32("".join(map(_namespace, kinds)).encode())
    name = f"{SHARED_PREFIX}{os.geteuid()}-{group}-{protocol}-{namespaces:08x}"
    reasons = []
    for place in (os.environ.get("XDG_RUNTIME_DIR") or "", *places()):
        if not place:
            continue
        parent = os.path.realpath(place)
        try:
            reason = unfit_place(parent, len(f"/{name}{_LONGEST_PROGRAM}"))
            if reason is None and os.access(parent, os.W_OK | os.X_OK):
                return Path(parent, name)
            reason = reason or "it may not be written to"
        except OSError as error:
            reason = error.strerror or str(error)
        reasons.append(f"{parent!a}: {reason}")
    raise NotSharedError("no folder to meet in; tried " + "; ".join(reasons))


def _namespace(kind: str) -> str:
    try:
        return os.readlink(f"/proc/self/ns/{kind}")  # noqa: PTH115
    except OSError:
        return ""


def _lock(descriptor: int, deadline: float) -> None:
    while True:
        try:
            lock(descriptor)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise NotSharedError("another process has been starting one for too long") from None
            time.sleep(_LOCK_EVERY)
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "")
            raise NotSharedError(f"the file system has no locks ({name})") from None
