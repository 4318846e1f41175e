"""How a process of ours keeps its memory."""

from __future__ import annotations

import ctypes

__all__ = ["HTTP_MEMORY_VARIABLES", "MEMORY_VARIABLES", "give_back_memory"]

HTTP_MEMORY_VARIABLES = {
    "_RJEM_MALLOC_CONF": (
        "background_thread:true,max_background_threads:1,dirty_decay_ms:5000,muzzy_decay_ms:0"
    )
}
"""The HTTP library's jemalloc, which reads them when it is loaded, gives back to the system what has been
unused for five seconds. Without a thread of its own it would notice that only when it is used again."""

MEMORY_VARIABLES = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 20),
    **HTTP_MEMORY_VARIABLES,
}
"""The same for a child of ours, where glibc gives back what large results took, too."""


def give_back_memory() -> None:
    """Have the system take what this process has freed, as far as that is in whole pages."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # It is glibc's.
        trim(0)
