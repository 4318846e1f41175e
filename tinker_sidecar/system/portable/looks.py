"""Permission to look at this program."""

from __future__ import annotations

__all__ = ["permit_looks"]


def permit_looks(pid: int) -> None:
    """Nothing: no system but Linux has the program permit it. On macOS only root may look."""
