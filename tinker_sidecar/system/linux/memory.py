"""How a process of ours keeps its memory."""

from __future__ import annotations

__all__ = ["MEMORY_VARIABLES"]

MEMORY_VARIABLES = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20), "MALLOC_TRIM_THRESHOLD_": str(16 << 20)}
"""For glibc: what large results took goes back to the system, instead of staying in the child's heap."""
