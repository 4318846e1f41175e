"""Requests on their way to a result, and the results until they have been fetched."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import TYPE_CHECKING

from tinker_sidecar.local_server.engines import GenerationError
from tinker_sidecar.local_server.long_poll import wake
from tinker_sidecar.local_server.responses import HttpError
from tinker_sidecar.local_server.results import to_protobuf
from tinker_sidecar.local_server.served_sampler import ServedFailure, ServedPromise

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinker_sidecar.local_server.engines import GenerationEngine, GenerationRequest
    from tinker_sidecar.local_server.served_sampler import ServedSampler
    from tinker_sidecar.local_server.sessions import Sessions
    from tinker_sidecar.local_server.throttle import Throttle
    from tinker_sidecar.local_server.wire import TensorBody

__all__ = ["Promises"]

logger = logging.getLogger(__name__)

RETRIEVED_GRACE = 30.0
"""Seconds a fetched result is kept for a client that lost the answer."""
RETRIEVED_BYTES = 128 << 20
UNRETRIEVED_BYTES = 2 << 30


class Promises:
    """Runs requests on the engine and holds their results, within bounds of time and memory.

    A result is kept until it was fetched, and then `RETRIEVED_GRACE` seconds for a client that lost the
    answer. Beyond the memory bounds the oldest ones go first.
    """

    def __init__(
        self, engine: GenerationEngine, sessions: Sessions, throttle: Throttle, clock: Callable[[], float]
    ) -> None:
        self._engine = engine
        self._sessions = sessions
        self._throttle = throttle
        self._clock = clock
        self._pending = 0
        self._unretrieved = _Shelf(UNRETRIEVED_BYTES)
        self._retrieved = _Shelf(RETRIEVED_BYTES)

    def repeated(self, sampler: ServedSampler, seq_id: int) -> ServedPromise | None:
        """The request that `seq_id` names already: the same number again is the same request."""
        return sampler.promises.get(seq_id)

    def submit(
        self, sampler: ServedSampler, seq_id: int, request: GenerationRequest, target: TensorBody | None
    ) -> ServedPromise:
        """Start `request`; `target` is its `target_prompt_logprobs`, whose layout the result has.

        Raises HttpError 429 when that is more than the server takes.
        """
        self._throttle.admit(self._pending)
        promise = ServedPromise(sampler, seq_id, request.num_samples)
        sampler.promises[seq_id] = promise
        promise.clone.highest_seq_id = max(promise.clone.highest_seq_id, seq_id)
        sampler.log.submitted.append(self._clock())
        self._pending += 1
        promise.task = asyncio.create_task(self._generate(promise, request, target))
        return promise

    def find(self, request_id: str) -> ServedPromise:
        """Raise HttpError 410 for a request whose result is gone, 404 for one that never was."""
        sampler_id, seq_id = _parse(request_id)
        sampler = self._sessions.sampler(sampler_id)
        promise = sampler.promises.get(seq_id)
        if promise is not None:
            return promise
        if sampler.has_seen(seq_id):
            raise HttpError(410, f"the result of request {request_id} is gone; submit it anew")
        raise HttpError(404, f"request {request_id} is unknown")

    def cancel(self, promise: ServedPromise) -> None:
        """Stop a request that is still pending; it then counts as failed."""
        if promise.task is not None:
            promise.task.cancel()
            self._finish(promise, ServedFailure("the request was cancelled", "user"))

    def note_retrieved(self, promise: ServedPromise) -> None:
        """A client is being sent the result: from now on it is kept for a while only."""
        if self._unretrieved.remove(promise):
            self._drop(self._retrieved.add(promise, self._clock()))

    def acknowledge(self, sampler: ServedSampler, request_ids: list[str]) -> None:
        """Drop the results of `sampler` that its client says it has; other ids are not its to drop."""
        for request_id in request_ids:
            sampler_id, seq_id = _parse(request_id)
            promise = sampler.promises.get(seq_id) if sampler_id == sampler.sampler_id else None
            if promise is not None and promise.done:
                self._discard(promise)

    def sweep(self) -> None:
        """Drop what was fetched long enough ago."""
        self._drop(self._retrieved.take_older_than(self._clock() - RETRIEVED_GRACE))

    def end(self, sampler: ServedSampler) -> None:
        """Stop and drop all requests of a sampler whose session has ended."""
        for promise in list(sampler.promises.values()):
            self.cancel(promise)
            self._discard(promise)

    async def _generate(
        self, promise: ServedPromise, request: GenerationRequest, target: TensorBody | None
    ) -> None:
        outcome: bytes | ServedFailure
        try:
            outcome = to_protobuf(await self._engine.generate(request), target)
        except GenerationError as error:
            outcome = ServedFailure(str(error), "user")
        except (Exception, SystemExit) as error:
            logger.exception("generation of request %s failed", promise.request_id)
            outcome = ServedFailure(f"generation failed: {type(error).__name__}: {error}", "server")
        self._finish(promise, outcome)

    def _finish(self, promise: ServedPromise, outcome: bytes | ServedFailure) -> None:
        now = self._clock()
        if isinstance(outcome, ServedFailure):
            promise.failure = outcome
        else:
            promise.payload = outcome
            promise.sampler.log.completed.append(now)
        promise.task = None
        self._pending -= 1
        wake(promise.waiters)
        if promise.clone.feed is not None:
            promise.clone.feed.publish(promise)
        self._drop(self._unretrieved.add(promise, now))

    def _drop(self, promises: list[ServedPromise]) -> None:
        for promise in promises:
            self._discard(promise)

    def _discard(self, promise: ServedPromise) -> None:
        promise.gone = True
        self._unretrieved.remove(promise)
        self._retrieved.remove(promise)
        promises = promise.sampler.promises
        if promises.get(promise.seq_id) is promise:
            del promises[promise.seq_id]


def _parse(request_id: str) -> tuple[str, int]:
    """The sampler and the number that make up a request id."""
    sampler_id, _, number = request_id.rpartition(":")
    if not (number.isascii() and number.isdigit() and len(number) < 20):
        raise HttpError(404, f"request {request_id} is unknown")
    return sampler_id, int(number)


class _Shelf:
    """Finished promises, oldest first, up to so many bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._promises: OrderedDict[ServedPromise, float] = OrderedDict()

    def add(self, promise: ServedPromise, now: float) -> list[ServedPromise]:
        """Shelve `promise`; returns those that have to make room for it."""
        self._promises[promise] = now
        self._bytes += promise.size
        evicted = []
        while self._bytes > self._max_bytes and len(self._promises) > 1:
            evicted.append(self._pop_oldest())
        return evicted

    def remove(self, promise: ServedPromise) -> bool:
        """Take it down; False if it was not there."""
        if self._promises.pop(promise, None) is None:
            return False
        self._bytes -= promise.size
        return True

    def take_older_than(self, deadline: float) -> list[ServedPromise]:
        """Take down what was shelved before `deadline`."""
        taken = []
        while self._promises and next(iter(self._promises.values())) < deadline:
            taken.append(self._pop_oldest())
        return taken

    def _pop_oldest(self) -> ServedPromise:
        promise, _ = self._promises.popitem(last=False)
        self._bytes -= promise.size
        return promise
