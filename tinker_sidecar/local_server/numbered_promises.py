"""Promises whose ids are numbers, as some servers in the wild give them: they say nothing of the request."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from tinker_sidecar.local_server.promises import Promises
from tinker_sidecar.local_server.responses import HttpError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinker_sidecar.local_server.engines import GenerationEngine, GenerationRequest
    from tinker_sidecar.local_server.served_sampler import ServedPromise, ServedSampler
    from tinker_sidecar.local_server.sessions import Sessions
    from tinker_sidecar.local_server.throttle import Throttle
    from tinker_sidecar.local_server.wire import TensorBody

__all__ = ["NumberedPromises"]


class NumberedPromises(Promises):
    """With `sample_again`, a repeated `seq_id` is another request."""

    def __init__(
        self,
        engine: GenerationEngine,
        sessions: Sessions,
        throttle: Throttle,
        clock: Callable[[], float],
        *,
        sample_again: bool,
    ) -> None:
        super().__init__(engine, sessions, throttle, clock)
        self._sample_again = sample_again
        self._numbers = itertools.count(1)
        self._numbered: dict[str, ServedPromise] = {}

    def repeated(self, sampler: ServedSampler, seq_id: int) -> ServedPromise | None:
        """None where the same number again is another request."""
        return None if self._sample_again else super().repeated(sampler, seq_id)

    def submit(
        self, sampler: ServedSampler, seq_id: int, request: GenerationRequest, target: TensorBody | None
    ) -> ServedPromise:
        """As elsewhere, under a number of the server's own."""
        promise = super().submit(sampler, seq_id, request, target)
        promise.request_id = str(next(self._numbers))
        self._numbered[promise.request_id] = promise
        return promise

    def find(self, request_id: str) -> ServedPromise:
        """Raise HttpError 404 for a request that is unknown or whose result is gone."""
        if (promise := self._numbered.get(request_id)) is None:
            raise HttpError(404, f"Request {request_id} not found")
        return promise

    def _discard(self, promise: ServedPromise) -> None:
        self._numbered.pop(promise.request_id, None)
        super()._discard(promise)
