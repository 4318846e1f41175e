"""Where on this machine sidecars have their folders, and which of them are this user's."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tinker_sidecar.system import SOCKET_PLACES

__all__ = ["FOLDER_PREFIX", "is_own_folder", "own_folders", "places"]

FOLDER_PREFIX = "tinker-sidecar-"


def places() -> list[str]:
    """The folders in which a sidecar's own may lie, the one that is tried first in front."""
    return list(dict.fromkeys((*_temporary_folder(), *SOCKET_PLACES)))


def own_folders(place: str, prefix: str = FOLDER_PREFIX) -> Iterator[Path]:
    """The folders of this user's sidecars in `place`, also of those that are dead.

    Anybody may put anything there by such a name: only a folder of this user's, no link, is one.
    """
    with contextlib.suppress(OSError):
        yield from filter(is_own_folder, Path(place).glob(prefix + "*"))


def is_own_folder(path: Path) -> bool:
    """Whether this is a folder of this user's, and no link to one."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _temporary_folder() -> list[str]:
    """What `tempfile` would use; nothing on a full disk, where it cannot write a file but a socket may be."""
    try:
        return [tempfile.gettempdir()]
    except FileNotFoundError:
        return []
