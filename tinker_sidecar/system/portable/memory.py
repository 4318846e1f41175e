"""How a process of ours keeps its memory."""

from __future__ import annotations

__all__ = ["HTTP_MEMORY_VARIABLES", "MEMORY_VARIABLES", "give_back_memory"]

HTTP_MEMORY_VARIABLES: dict[str, str] = {}
"""Nothing to set: elsewhere the HTTP library has no such thread."""

MEMORY_VARIABLES: dict[str, str] = {}
"""Nothing to set, either: what there is to set is glibc's."""


def give_back_memory() -> None:
    """Nothing to call, either."""
