"""The threads of this process: nothing is known of them that Python does not know."""

from __future__ import annotations

__all__ = ["has_thread", "processor_time"]


def has_thread(native_id: int | None) -> bool:
    """Whether the system still counts a thread that has been joined: that it tells nobody."""
    return False


def processor_time(native_id: int) -> float:
    """Seconds that this thread has taken of the processors: 0, as it is not known."""
    return 0.0
