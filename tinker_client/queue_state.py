"""What the server says of a sampler's queue."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["QueueState", "reason_of_pause"]


class QueueState(StrEnum):
    """Whether the server works on a sampler's requests, and if not, why."""

    ACTIVE = "active"
    """It does."""
    PAUSED_CAPACITY = "paused_capacity"
    """Not now: the service is short of capacity."""
    PAUSED_RATE_LIMIT = "paused_rate_limit"
    """Not now: the limit on concurrent samplers is reached."""
    UNKNOWN = "unknown"
    """The server says it with a word that this version does not know."""

    @classmethod
    def _missing_(cls, value: object) -> QueueState:
        return cls.UNKNOWN


_REASONS = {
    QueueState.PAUSED_RATE_LIMIT: "the limit on concurrent samplers is reached",
    QueueState.PAUSED_CAPACITY: "the service is short of capacity",
}


def reason_of_pause(state: QueueState, said: str | None) -> str:
    """Why the server pauses requests, for people: what it `said` of it or, if nothing, what `state` means."""
    return said or _REASONS.get(state, "the server gives no reason")
