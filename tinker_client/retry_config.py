"""How a sampling client deals with trouble."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tinker_client.errors import APIConnectionError
from tinker_sidecar.protocol import Retry

__all__ = ["RetryConfig"]


@dataclass(frozen=True)
class RetryConfig:
    """Retries and stuck detection of one sampling client; it survives pickling.

    Raises `ValueError` for a value out of range.
    """

    max_connections: int | None = None
    """Requests in flight at once. The server's own limit wins over it (the official SDK's rule);
    None: only the server's limit."""

    progress_timeout: float = 30 * 60
    """Seconds without any request finishing after which those pending fail as stuck."""

    retry_delay_base: float = 0.5
    """Seconds before the first retry; each further one waits twice as long."""

    retry_delay_max: float = 10.0
    """Seconds that a retry waits at most."""

    jitter_factor: float = 0.25
    """Part of a delay, 0 to 1, by which it varies at random."""

    enable_retry_logic: bool = True
    """Whether a request whose result the server has lost is sampled anew, which may be paid for twice.
    Sending a request again under its number, and asking for its result again, goes on in any case."""

    enable_stuck_detection: bool = True
    """Whether `progress_timeout` applies."""

    retryable_exceptions: tuple[type[Exception], ...] = (TimeoutError, APIConnectionError)
    """Kept for code that sets it: the engine retries what may pass and nothing else."""

    def __post_init__(self) -> None:
        if self.max_connections is not None and self.max_connections <= 0:
            raise ValueError(f"max_connections must be positive or None, got {self.max_connections}")
        for name in ("progress_timeout", "retry_delay_base", "retry_delay_max"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a positive number of seconds, got {value}")
        if not 0 <= self.jitter_factor <= 1:
            raise ValueError(f"jitter_factor must be between 0 and 1, got {self.jitter_factor}")

    def to_wire(self) -> Retry:
        return Retry(
            self.max_connections,
            self.progress_timeout,
            self.retry_delay_base,
            self.retry_delay_max,
            self.jitter_factor,
            self.enable_retry_logic,
            self.enable_stuck_detection,
        )
