"""The policy by which the system gives this thread a core: its own, for none other is known."""

from __future__ import annotations

__all__ = ["schedule_as_batch", "schedule_as_usual"]


def schedule_as_batch() -> bool:
    """Whether this thread waits its turn from now on: no."""
    return False


def schedule_as_usual() -> None:
    """Nothing was changed, so nothing is to be undone."""
