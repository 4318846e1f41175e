"""The event loop that an engine in process runs on."""

from __future__ import annotations

try:
    from uvloop import new_event_loop
except ModuleNotFoundError:  # There is none for Windows.
    from asyncio import new_event_loop

__all__ = ["new_event_loop"]
