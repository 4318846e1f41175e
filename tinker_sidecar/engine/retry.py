"""How long to go on trying, and how long to pause in between; what is tried again says `recovery`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from tinker_sidecar.ipc.protocol import Retry
from tinker_sidecar.pauses import delays

__all__ = ["NO_NEWS_PAUSE", "Policy", "RetryPolicy", "StartUpPolicy"]

NO_NEWS_PAUSE = 0.25
"""Seconds between polls of a server that does not hold them, but answers at once that there is no news."""


class Policy(Protocol):
    """How patient somebody is."""

    @property
    def patience(self) -> float:
        """Seconds after which trouble that has not passed is an error."""

    def delays(self) -> Iterator[float]:
        """Seconds to pause before each next try."""


class StartUpPolicy:
    """How calls are retried that open a session or sampler: a run should outlive a server's restart.

    Until the server `has_answered` anything at all, its address may be wrong, which should be told soon.
    """

    def __init__(
        self, has_answered: Callable[[], bool], patience: float = 300.0, first_contact: float = 5.0
    ) -> None:
        self._has_answered = has_answered
        self._patience = patience
        self._first_contact = first_contact

    @property
    def patience(self) -> float:
        """Seconds after which trouble that has not passed is an error."""
        return self._patience if self._has_answered() else self._first_contact

    def delays(self) -> Iterator[float]:
        """Seconds to pause before each next try."""
        return delays()


class RetryPolicy:
    """How a sampler retries: as the user configured, within what the server wants.

    Sending a request once more under its number, and asking for its result once more, is never paid for
    twice, so nobody can turn that off: a result that is lost has been paid for, too. `resamples` says
    whether a request may be run again as a new one, when its result is gone from the server.
    """

    def __init__(self, retry: Retry, *, resamples: bool) -> None:
        self._retry = retry
        self.resamples = resamples and retry.enable_retry_logic

    @property
    def patience(self) -> float:
        """The user's `progress_timeout`."""
        return self._retry.progress_timeout

    def delays(self) -> Iterator[float]:
        """As the user has configured them."""
        retry = self._retry
        return delays(retry.retry_delay_base, retry.retry_delay_max, retry.jitter_factor)
