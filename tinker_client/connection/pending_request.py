"""A request under way, as the future that stands for it knows it."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from tinker_client.connection.inspecting import ask_for_request_id
from tinker_client.connection.remote import RemoteSampler

if TYPE_CHECKING:
    import asyncio

__all__ = ["PendingRequest"]


class PendingRequest:
    """A request under way. Keeps its sampler open, since the client may be gone before the answer."""

    __slots__ = ("_request", "_sampler", "submitted_at")

    def __init__(self, sampler: RemoteSampler, request: int, submitted_at: float) -> None:
        self._sampler = sampler
        self._request = request
        self.submitted_at = submitted_at
        """When the call was made, by `time.monotonic`."""

    def describe(self) -> str:
        """Which sampler it went to, and how long ago, for a `TimeoutError`."""
        age = monotonic() - self.submitted_at
        return f"the request to {self._sampler.describe()} was submitted {age:.1f} s ago and is unanswered"

    def wait(self, done: Callable[[], bool], timeout: float | None) -> None:
        """Lend this thread to the delivery of batches."""
        self._sampler.backend.wait(done, timeout)

    def read_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Lend `loop`, the running one, to the delivery of batches."""
        self._sampler.backend.read_on(loop)

    def request_id(self) -> str | None:
        """What the server calls the request, if it has taken it and the engine answers."""
        return ask_for_request_id(self._sampler.backend, self._request)

    def cancel(self) -> None:
        """Have the engine drop the request."""
        self._sampler.backend.cancel(self._request)
