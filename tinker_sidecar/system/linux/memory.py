"""How a process of ours keeps its memory."""

from __future__ import annotations

import ctypes

__all__ = ["MEMORY_VARIABLES", "give_back_memory"]

MEMORY_VARIABLES = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 20),
    "_RJEM_MALLOC_CONF": "background_thread:true,dirty_decay_ms:5000,muzzy_decay_ms:0",
}
"""What a child of ours does not need any more goes back to the system, instead of staying in its heap: for
glibc, what large results took; for the jemalloc in the HTTP library, what has been unused for five seconds.
Without a thread of its own it would notice that only when it is used again.
"""


def give_back_memory() -> None:
    """Have the system take what this process has freed, as far as that is in whole pages."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # It is glibc's.
        trim(0)
