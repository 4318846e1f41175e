"""How a sampling client deals with trouble."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from tinker_client.errors import APIConnectionError
from tinker_client.types._checks import TOKEN_ID, as_float, as_int, is_official, wrong_type, wrong_value
from tinker_sidecar.ipc.protocol import Retry

__all__ = ["RetryConfig"]

_FRACTION = "a number from 0 to 1"
_TICK = 0.001
"""Seconds: no pause is shorter, or an engine would do nothing but try again."""
_EVER = 1e9
"""Seconds; stands for infinity, which no timer takes."""


@dataclass(frozen=True)
class RetryConfig:
    """Retries and stuck detection of one sampling client; it survives pickling.

    Raises
    ------
    TypeError, ValueError
        A value is of the wrong type or out of range.
    """

    max_connections: int | None = None
    """Requests in flight at once. The server's own limit wins over it (the official SDK's rule);
    None: only the server's limit."""

    progress_timeout: float = 30 * 60
    """Seconds without any request finishing after which those pending fail as stuck; may be `math.inf`."""

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
        if self.max_connections is not None:
            as_int("max_connections", self.max_connections, "a positive int or None", (1, TOKEN_ID[1]))
        for name, least in (("progress_timeout", _TICK), ("retry_delay_base", 0), ("retry_delay_max", 0)):
            allowed = f"a number of seconds, {'0 or more' if least == 0 else 'more than 0'}"
            if not as_float(name, getattr(self, name), allowed) >= least:
                raise wrong_value(name, allowed, getattr(self, name))
        if not 0 <= as_float("jitter_factor", self.jitter_factor, _FRACTION) <= 1:
            raise wrong_value("jitter_factor", _FRACTION, self.jitter_factor)
        for name in ("enable_retry_logic", "enable_stuck_detection"):
            if not isinstance(getattr(self, name), bool):
                raise wrong_type(name, "a bool", getattr(self, name))

    @classmethod
    def coerce(cls, value: object) -> RetryConfig:
        """One made of `value`: ours or the official SDK's, a dict of the fields, or None for the default.

        Raises
        ------
        TypeError
            `value` is anything else.
        """
        names = [field.name for field in fields(cls)]
        if value is None:
            return cls()
        if isinstance(value, RetryConfig):
            return value
        if is_official(value, "RetryConfig"):
            # What is worth a retry is the engine's own affair.
            known = [name for name in names if name != "retryable_exceptions" and hasattr(value, name)]
            return cls(**{name: getattr(value, name) for name in known})
        if isinstance(value, Mapping):
            if unknown := [name for name in value if name not in names]:
                raise TypeError(f"retry_config has no {unknown[0]!r}; there are {', '.join(names)}")
            return cls(**value)
        raise wrong_type("retry_config", "a tinker_client.RetryConfig, or a dict of its fields", value)

    def to_wire(self) -> Retry:
        """As the engine gets it: finite, and no time so short that it would be busy."""
        return Retry(
            max_connections=self.max_connections,
            progress_timeout=min(float(self.progress_timeout), _EVER),
            retry_delay_base=max(float(self.retry_delay_base), _TICK),
            retry_delay_max=min(max(float(self.retry_delay_max), _TICK), _EVER),
            jitter_factor=float(self.jitter_factor),
            enable_retry_logic=self.enable_retry_logic,
            enable_stuck_detection=self.enable_stuck_detection,
        )
