"""How a process of ours keeps its memory."""

from __future__ import annotations

__all__ = ["MEMORY_VARIABLES"]

MEMORY_VARIABLES: dict[str, str] = {}
"""Nothing to set: what there is to set is glibc's."""
