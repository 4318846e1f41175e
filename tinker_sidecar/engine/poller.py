"""One long poll that learns of every finished request of a sampler, in place of one each."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Literal

import msgspec

from tinker_sidecar.engine.failures import EngineError
from tinker_sidecar.engine.http import Lane
from tinker_sidecar.engine.retry import MALFORMED_ALLOWED, RetryPolicy, is_malformed, is_transient
from tinker_sidecar.engine.session import Session

__all__ = ["FuturesPoller"]

logger = logging.getLogger(__name__)

_BAD_REQUESTS_ALLOWED = 3  # A proxy may inject a 400.


class _Completion(msgspec.Struct):
    request_id: str
    state: Literal["finished", "failed"]
    response_payload_uncompressed_size: int | None = None


class _Completions(msgspec.Struct):
    completions: list[_Completion]
    cursor: int


class FuturesPoller:
    """Long-polls `retrieve_futures` for one clone of a sampling session while anybody waits.

    `wait` returns the size of a request's result once it is there. A server without the route makes
    every `wait` raise its 404, so that the caller can fall back to polling each request.
    """

    def __init__(self, session: Session, sampling_session_id: str, clone: int, policy: RetryPolicy) -> None:
        self._session = session
        self._policy = policy
        self._target = {
            "type": "sampling_session",
            "sampling_session_id": sampling_session_id,
            "cloned_sampler_id": clone,
        }
        self._submitting = 0
        self._waiting: dict[str, asyncio.Future[int]] = {}
        self._finished: dict[str, int] = {}
        self._given_up: set[str] = set()
        """What was cancelled here and the server has not told of yet."""
        self._retrieved: list[str] = []
        self._cursor = 0
        self._reported_cursor = 0
        self._failure: EngineError | None = None
        self._work = asyncio.Event()
        self._task = asyncio.create_task(self._poll())

    @property
    def is_unsupported(self) -> bool:
        """The server has no such route, whatever its flags say."""
        return self._failure is not None and self._failure.status == 404

    def submitting(self) -> None:
        """A request is on its way to the server: the poll is to be there in time, not a round trip later."""
        self._submitting += 1
        self._work.set()

    def submitted(self) -> None:
        """It has arrived, and is waited for next, or has failed."""
        self._submitting -= 1

    async def wait(self, request_id: str) -> int:
        """Bytes of the result of `request_id`, as soon as it is there (0: not known)."""
        if (size := self._finished.pop(request_id, None)) is not None:
            return size
        if self._failure is not None:
            raise self._failure
        waiter: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = waiter
        self._work.set()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._given_up.add(request_id)
            else:  # Told of in this very turn of the loop.
                self.retrieved(request_id)
            raise
        finally:
            self._waiting.pop(request_id, None)

    def retrieved(self, request_id: str) -> None:
        """The server may forget the result; it is told with the next poll."""
        self._retrieved.append(request_id)
        self._work.set()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _poll(self) -> None:
        bad_requests = malformed = 0
        waits = self._policy.delays()
        while True:
            if not (
                self._waiting or self._submitting or self._retrieved or self._cursor > self._reported_cursor
            ):
                self._work.clear()
                await self._work.wait()
            try:
                await self._poll_once()
                bad_requests = malformed = 0
                waits = self._policy.delays()
            except EngineError as error:
                if error.status == 402:
                    try:
                        await self._session.billing.wait(error)
                    except EngineError as final:
                        return self._fail(final)
                elif is_transient(error) and malformed < MALFORMED_ALLOWED:
                    malformed += is_malformed(error)
                    await asyncio.sleep(next(waits))
                elif error.status == 400 and bad_requests < _BAD_REQUESTS_ALLOWED:
                    bad_requests += 1
                    await asyncio.sleep(next(waits))
                else:
                    return self._fail(error)

    async def _poll_once(self) -> None:
        acknowledged = self._retrieved
        body: dict[str, Any] = {
            "target": self._target,
            "prev_cursor": self._cursor,
            "retrieved_request_ids": acknowledged,
        }
        if not (self._waiting or self._submitting):
            body["timeout"] = 0
        self._retrieved = []
        try:
            response = await self._session.post("retrieve_futures", msgspec.json.encode(body), lane=Lane.POLL)
            if response.status == 408:
                return
            answer = response.read(_Completions)
        except EngineError:
            self._retrieved = acknowledged + self._retrieved
            raise
        self._reported_cursor, self._cursor = self._cursor, answer.cursor
        for completion in answer.completions:
            size = completion.response_payload_uncompressed_size or 0
            waiter = self._waiting.get(completion.request_id)
            if waiter is not None:
                if not waiter.done():
                    waiter.set_result(size)
            elif completion.request_id in self._given_up:
                self._given_up.discard(completion.request_id)
                self._retrieved.append(completion.request_id)
            else:
                # Told of before its `asample` answer was read.
                self._finished[completion.request_id] = size

    def _fail(self, error: EngineError) -> None:
        logger.debug("retrieve_futures is of no use here: %s", error)
        self._failure = error
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_exception(error)
