"""Pausing while an account's billing is sorted out, instead of failing a run that has gone on for days."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from time import monotonic

from tinker_sidecar.engine.failures import EngineError
from tinker_sidecar.logs import engine_logger

__all__ = ["BillingPause"]


class BillingPause:
    """Waits out HTTP 402 for up to `longest` seconds, with a warning a minute."""

    _STEP = 5.0
    _WARN_EVERY = 60.0
    _NEW_INCIDENT_AFTER = 300.0

    def __init__(self, longest: float, programs: Collection[int]) -> None:
        self._logger = engine_logger(__name__, programs)
        self.longest = longest
        self.waiting = 0
        """Requests that wait for it to end."""
        self.is_told = False
        """Whether somebody has been told that it is on."""
        self._since = 0.0
        self._last_seen = float("-inf")
        self._last_warning = float("-inf")

    @property
    def is_on(self) -> bool:
        """Whether requests wait for it to end, or have just tried again."""
        return monotonic() - self._last_seen < 2 * self._STEP

    async def wait(self, error: EngineError) -> None:
        """Wait a little and return to try again, or raise `error` when the pause has lasted too long."""
        now = monotonic()
        if now - self._last_seen > self._NEW_INCIDENT_AFTER:
            self._since = now
        self._last_seen = now
        if now - self._since >= self.longest:
            raise error
        if now - self._last_warning >= self._WARN_EVERY:
            self._last_warning, self.is_told = now, True
            self._logger.warning(
                "sampling is paused until billing is sorted out (%.0f s so far): %s", now - self._since, error
            )
        self.waiting += 1
        try:
            await asyncio.sleep(min(self._STEP, self._since + self.longest - now))
        finally:
            self.waiting -= 1

    def end(self) -> None:
        """The server has taken a request."""
        self.is_told = False
        self._last_warning = float("-inf")
        self._logger.warning(
            "billing is sorted out: sampling goes on after %.0f s", monotonic() - self._since
        )
