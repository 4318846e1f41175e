"""Asking for a running event loop without importing asyncio, which takes longer than all of this package."""

from __future__ import annotations

import sys

from tinker_client.trio_loop import in_trio

__all__ = ["runs_event_loop"]


def runs_event_loop() -> bool:
    """Whether this thread is an event loop's, which nothing may block."""
    events = sys.modules.get("asyncio.events")
    get_running_loop = getattr(events, "_get_running_loop", None)  # Another thread may be importing it.
    return (get_running_loop is not None and get_running_loop() is not None) or in_trio()
