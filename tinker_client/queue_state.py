"""What the server says of a sampler's queue."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["QueueState"]


class QueueState(StrEnum):
    """Whether the server works on a sampler's requests, and if not, why."""

    ACTIVE = "active"
    PAUSED_CAPACITY = "paused_capacity"
    PAUSED_RATE_LIMIT = "paused_rate_limit"
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, value: object) -> QueueState:
        return cls.UNKNOWN
