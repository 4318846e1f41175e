"""How much the server takes: so many requests at once, so many a second, and what the engine has room for.

What is more it refuses.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from tinker_sidecar.local_server.responses import HttpError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinker_sidecar.local_server.engines import Refusal

__all__ = ["ServerLimits", "Throttle"]


class ServerLimits(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What `serve` is told on its command line, and `POST /local/limits` while it runs."""

    slots: int = 100_000
    """Requests that may be pending at once."""
    rate: float | None = None
    """Requests a second, in the long run; None: any number."""
    burst: int = 1
    """How many of them may come at once, after a quiet time."""
    retry_after: str | None = None
    """The `Retry-After` header of a refusal, as it is sent."""


class Throttle:
    """Refuses what exceeds `limits`, which may be replaced at any time, and what the engine refuses."""

    def __init__(
        self,
        limits: ServerLimits,
        clock: Callable[[], float],
        refusal: Callable[[], Refusal | None] = lambda: None,
    ) -> None:
        self._clock = clock
        self._engine_refusal = refusal
        self.replace(limits)

    def replace(self, limits: ServerLimits) -> None:
        """Go by other limits from now on; there has been a quiet time before."""
        self._limits = limits
        self._tokens = float(limits.burst)
        self._filled = self._clock()

    def admit(self, pending: int) -> None:
        """Let one more request in beside `pending` others.

        Raises HttpError 429 if that is too many at once, or too many a second, or as the engine says.
        """
        if refusal := self._engine_refusal():
            seconds = refusal.retry_after
            header = None if seconds is None else str(math.ceil(seconds))
            raise _refused(refusal.status, refusal.reason, header)
        limits = self._limits
        if pending >= limits.slots:
            raise self._refusal(f"{limits.slots} requests are pending; wait for some to finish")
        if limits.rate is not None:
            now = self._clock()
            self._tokens = min(limits.burst, self._tokens + (now - self._filled) * limits.rate)
            self._filled = now
            if self._tokens < 1:
                raise self._refusal(f"more than {limits.rate:g} requests a second; slow down")
            self._tokens -= 1

    def _refusal(self, detail: str) -> HttpError:
        return _refused(429, detail, self._limits.retry_after)


def _refused(status: int, detail: str, retry_after: str | None) -> HttpError:
    headers = () if retry_after is None else ((b"retry-after", retry_after.encode("latin-1")),)
    return HttpError(status, detail, headers)
