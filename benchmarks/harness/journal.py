"""What the local server has seen of its clients."""

from __future__ import annotations

import json
import time
import urllib.request
from dataclasses import dataclass

__all__ = ["Session", "read_journal"]


@dataclass(frozen=True)
class Session:
    """Times of `time.monotonic` on this machine, in order."""

    created: float
    heartbeats: list[float]
    completed: list[float]
    """When the server had the result of each request."""


def read_journal(base_url: str) -> dict[str, Session]:
    """All sessions, by id."""
    with urllib.request.urlopen(f"{base_url}/local/journal") as response:
        journal = json.load(response)
    ahead = journal["now"] - time.monotonic()
    return {
        session_id: Session(
            created=session["created"] - ahead,
            heartbeats=sorted(heartbeat - ahead for heartbeat in session["heartbeats"]),
            completed=sorted(completion - ahead for completion in session["completed"]),
        )
        for session_id, session in journal["sessions"].items()
    }
