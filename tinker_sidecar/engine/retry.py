"""When to try again, and how long to wait first."""

from __future__ import annotations

import random
from collections.abc import Iterator
from time import monotonic

from tinker_sidecar.engine.failures import EngineError
from tinker_sidecar.ipc.protocol import Retry

__all__ = [
    "MALFORMED_ALLOWED",
    "NO_NEWS_PAUSE",
    "RetryPolicy",
    "delays",
    "is_connection_trouble",
    "is_malformed",
    "is_transient",
]

MALFORMED_ALLOWED = 3
"""Answers in a row that make no sense, as a broken connection or proxy may cause, before one is an error."""

NO_NEWS_PAUSE = 0.25
"""Seconds between polls of a server that does not hold them, but answers at once that there is no news."""

_FAILING_PATIENCE = 300.0
"""Seconds after which a 500 on every ask is the server's last word: some answer so for a failed request."""


def delays(base: float = 0.5, longest: float = 10.0, jitter: float = 0.25) -> Iterator[float]:
    """Seconds to wait before each next try: doubling from `base` to `longest`, give or take `jitter`."""
    delay = base
    while True:
        yield min(longest, delay * random.uniform(1 - jitter, 1 + jitter))
        delay = min(longest, delay * 2)


def is_connection_trouble(error: EngineError) -> bool:
    """Nothing came back from the server."""
    return error.failure.kind in ("APIConnectionError", "APITimeoutError")


def is_malformed(error: EngineError) -> bool:
    """An answer came that makes no sense."""
    return error.failure.kind == "APIResponseValidationError"


def is_transient(error: EngineError) -> bool:
    """The same request may succeed later."""
    status = error.status
    return (
        is_connection_trouble(error)
        or is_malformed(error)
        or (status is not None and (status in (408, 409, 429) or status >= 500) and status != 501)
    )


class RetryPolicy:
    """How a sampler retries: as the user configured, within what the server wants.

    Sending a request once more under its number, and asking for its result once more, is never paid for
    twice, so nobody can turn that off: a result that is lost has been paid for, too. `resamples` says
    whether a request may be run again as a new one, when its result is gone from the server.
    """

    def __init__(self, retry: Retry, *, resamples: bool) -> None:
        self._retry = retry
        self.resamples = resamples and retry.enable_retry_logic

    def delays(self) -> Iterator[float]:
        retry = self._retry
        return delays(retry.retry_delay_base, retry.retry_delay_max, retry.jitter_factor)

    def allows(self, error: EngineError, since: float) -> bool:
        """Whether trouble that began at `since` may still pass."""
        patience = self._retry.progress_timeout
        if error.status == 500:
            patience = min(patience, _FAILING_PATIENCE)
        return is_transient(error) and monotonic() - since < patience
