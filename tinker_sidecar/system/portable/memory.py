"""How a process of ours keeps its memory."""

from __future__ import annotations

__all__ = ["MEMORY_VARIABLES", "give_back_memory"]

MEMORY_VARIABLES: dict[str, str] = {}
"""Nothing to set: what there is to set is glibc's."""


def give_back_memory() -> None:
    """Nothing to call, either."""
