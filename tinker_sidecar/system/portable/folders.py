"""Where sockets may lie on any Unix."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

__all__ = ["LONGEST_SOCKET_PATH", "SOCKET_PLACES", "bound_sockets"]

LONGEST_SOCKET_PATH = 103
"""Bytes: as much as macOS and the BSDs have room for."""

SOCKET_PLACES: tuple[str, ...] = ("/tmp", "/var/tmp")  # noqa: S108
"""Folders that may be writable where the temporary one is not, the first to be tried in front."""


def bound_sockets() -> Iterator[Path]:
    """None: no system but Linux lists the Unix sockets that have a path."""
    return iter(())
