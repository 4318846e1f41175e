"""When what happened, session by session, as the server saw it.

A benchmark or a demo reads it at `GET /local/journal` to see heartbeats and completions from the
only side that can tell whether a client kept time.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Journal", "SessionLog"]

_SESSIONS = 64
_EVENTS = 100_000


def _events() -> deque[float]:
    return deque(maxlen=_EVENTS)


class SessionLog(msgspec.Struct):
    """Seconds on the server's monotonic clock; of each kind the last 100,000."""

    created: float
    heartbeats: deque[float] = msgspec.field(default_factory=_events)
    submitted: deque[float] = msgspec.field(default_factory=_events)
    completed: deque[float] = msgspec.field(default_factory=_events)


class Journal:
    """The logs of the last 64 sessions."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._sessions: dict[str, SessionLog] = {}

    def open(self, session_id: str) -> SessionLog:
        """Begin the log of a session; the oldest makes room for it."""
        log = SessionLog(created=self._clock())
        self._sessions[session_id] = log
        if len(self._sessions) > _SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        return log

    def snapshot(self) -> dict[str, object]:
        """All of it, with the time now, for JSON."""
        sessions = {
            session_id: {
                "created": log.created,
                "heartbeats": list(log.heartbeats),
                "submitted": list(log.submitted),
                "completed": list(log.completed),
            }
            for session_id, log in self._sessions.items()
        }
        return {"now": self._clock(), "sessions": sessions}
