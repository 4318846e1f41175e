"""The threads of this process, as far as psutil knows them."""

from __future__ import annotations

__all__ = ["has_thread", "processor_time"]


def has_thread(native_id: int | None) -> bool:
    """Whether the system still counts this thread: one that has been joined may be, for a moment.

    On macOS psutil knows threads by other numbers, so there it is none. Threads are not scarce there.
    """
    import psutil  # Slow to import, and rarely needed.

    try:
        return native_id in {thread.id for thread in psutil.Process().threads()}
    except psutil.Error:
        return False


def processor_time(native_id: int) -> float:
    """Seconds that this thread has taken of the processors: 0, as it is not known."""
    return 0.0
