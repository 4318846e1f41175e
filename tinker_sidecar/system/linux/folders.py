"""Where sockets may lie on Linux, and which there are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

__all__ = ["LONGEST_SOCKET_PATH", "SOCKET_PLACES", "bound_sockets"]

LONGEST_SOCKET_PATH = 107
"""Bytes."""

SOCKET_PLACES: tuple[str, ...] = ("/tmp", "/dev/shm", "/var/tmp")  # noqa: S108
"""Folders that may be writable where the temporary one is not, the first to be tried in front."""


def bound_sockets() -> Iterator[Path]:
    """The Unix sockets that have a path, everybody's."""
    with contextlib.suppress(OSError), Path("/proc/net/unix").open(errors="surrogateescape") as table:
        for line in table:
            fields = line.rstrip("\n").split(maxsplit=7)
            if len(fields) == 8 and fields[7].startswith("/"):
                yield Path(fields[7])
