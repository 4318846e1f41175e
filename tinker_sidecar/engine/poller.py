"""One long poll that learns of every finished request of a sampler, in place of one each."""

from __future__ import annotations

import asyncio
import contextlib
import math
from time import monotonic
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from tinker_sidecar.engine.failures import EngineError
from tinker_sidecar.engine.http import Lane
from tinker_sidecar.engine.recovery import Action, Recovery, Route
from tinker_sidecar.engine.results import PayloadBytes
from tinker_sidecar.engine.retry import NO_NEWS_PAUSE, RetryPolicy
from tinker_sidecar.engine.session import Session
from tinker_sidecar.engine.supervision import go_on
from tinker_sidecar.logs import engine_logger

__all__ = ["FuturesPoller"]

logger = engine_logger(__name__)

_KEPT = 300.0
"""Seconds that the books keep a request in which nobody seems to have an interest."""


class _Completion(msgspec.Struct):
    request_id: str
    state: Literal["finished", "failed"]
    response_payload_uncompressed_size: PayloadBytes | None = None


class _Completions(msgspec.Struct):
    completions: list[_Completion]
    cursor: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


class _Early(NamedTuple):
    """A completion that nobody waits for."""

    size: int
    last_ticket: int
    """The youngest request that may have been the one."""
    since: float


class FuturesPoller:
    """Long-polls `retrieve_futures` for one clone of a sampling session while anybody waits.

    `wait` returns the size of a request's result once it is there. A server without the route makes
    every `wait` raise its 404, so that the caller can fall back to polling each request.
    """

    def __init__(self, session: Session, sampling_session_id: str, clone: int, policy: RetryPolicy) -> None:
        self._session = session
        self._target = {
            "type": "sampling_session",
            "sampling_session_id": sampling_session_id,
            "cloned_sampler_id": clone,
        }
        self._last_ticket = 0
        self._coming: dict[int, None] = {}
        """The tickets of requests whose id is not known yet, oldest first."""
        self._waiting: dict[str, asyncio.Future[int]] = {}
        self._early: dict[str, _Early] = {}
        """Told of before the answer to `asample` was read; or of a request that was cancelled before that."""
        self._given_up: dict[str, float] = {}
        """What was cancelled here, and when: the server is to forget it, but it has not finished it yet."""
        self._retrieved: list[str] = []
        self._cursor = 0
        self._reported_cursor = 0
        self._failure: EngineError | None = None
        self._work = asyncio.Event()
        self._recovery = Recovery(
            Route.POLL,
            policy,
            session.retries,
            {Action.AWAIT_PAYMENT: session.billing.wait, Action.RESET_CURSOR: self._reset_cursor},
        )
        self._task = asyncio.create_task(go_on("polls for finished requests", self._step))

    @property
    def is_unsupported(self) -> bool:
        """The server has no such route, whatever its flags say."""
        return self._failure is not None and self._failure.status == 404

    def coming(self) -> int:
        """A request is about to be sent: the poll is to be there in time, not a round trip later.

        Returns a ticket for `came`.
        """
        self._last_ticket += 1
        self._coming[self._last_ticket] = None
        self._work.set()
        return self._last_ticket

    def came(self, ticket: int) -> None:
        """The server has taken the request, which is waited for at once, or it never will."""
        del self._coming[ticket]

    async def wait(self, request_id: str) -> int:
        """Bytes of the result of `request_id`, as soon as it is there (0: not known)."""
        if (early := self._early.pop(request_id, None)) is not None:
            return early.size
        if self._failure is not None:
            raise self._failure
        waiter: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = waiter
        self._work.set()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self.given_up(request_id)
            else:  # Told of in this very turn of the loop.
                self.retrieved(request_id)
            raise
        finally:
            self._waiting.pop(request_id, None)

    def given_up(self, request_id: str) -> None:
        """Nobody wants the result: the server is told so when it has it, or at the end of our patience."""
        if self._early.pop(request_id, None) is not None:
            self.retrieved(request_id)
        elif self._failure is None:
            self._given_up[request_id] = monotonic()
            self._work.set()

    def retrieved(self, request_id: str) -> None:
        """The server may forget the result; it is told with the next poll."""
        self._early.pop(request_id, None)  # Told of again, as after a poll whose answer was lost.
        if self._failure is None:
            self._retrieved.append(request_id)
            self._work.set()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    @property
    def _expects_news(self) -> bool:
        return bool(self._waiting or self._coming or self._given_up)

    async def _step(self) -> bool:
        """One poll, when there is need of one; False when there can be no further one."""
        try:
            await self._recovery.run(self._poll_when_needed)
        except EngineError as error:
            self._fail(error)
            return False
        return True

    async def _poll_when_needed(self) -> None:
        if not (self._expects_news or self._retrieved or self._cursor > self._reported_cursor):
            self._work.clear()
            await self._wait_for_work()
        await self._poll()

    async def _wait_for_work(self) -> None:
        """Until there is something to poll for, or nobody has come for a result for long enough."""
        patience = None
        if self._early:
            patience = max(0.0, next(iter(self._early.values())).since + _KEPT - monotonic()) + 0.1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._work.wait()
        self._tidy()

    async def _reset_cursor(self, _: EngineError) -> None:
        self._cursor = self._reported_cursor = 0

    async def _poll(self) -> None:
        acknowledged = self._retrieved
        body: dict[str, Any] = {
            "target": self._target,
            "prev_cursor": self._cursor,
            "retrieved_request_ids": acknowledged,
        }
        if not self._expects_news:
            body["timeout"] = 0
        self._retrieved = []
        started = monotonic()
        try:
            response = await self._session.post("retrieve_futures", msgspec.json.encode(body), lane=Lane.POLL)
            completions = [] if response.status == 408 else self._read(response.read(_Completions))
        except BaseException:
            self._retrieved = acknowledged + self._retrieved
            raise
        self._take(completions)
        self._tidy()
        if not completions and self._expects_news and monotonic() - started < NO_NEWS_PAUSE:
            await asyncio.sleep(NO_NEWS_PAUSE)

    def _read(self, answer: _Completions) -> list[_Completion]:
        self._reported_cursor, self._cursor = self._cursor, answer.cursor
        return answer.completions

    def _take(self, completions: list[_Completion]) -> None:
        for completion in completions:
            request_id = completion.request_id
            size = completion.response_payload_uncompressed_size or 0
            waiter = self._waiting.get(request_id)
            if waiter is not None:
                if not waiter.done():
                    waiter.set_result(size)
            elif self._given_up.pop(request_id, None) is not None:
                self._retrieved.append(request_id)
            else:
                self._early[request_id] = _Early(size, self._last_ticket, monotonic())

    def _tidy(self) -> None:
        """Have the server forget what nobody will ask for, and forget it ourselves.

        That is what it has not finished long after it was cancelled, and what nobody has come for, though
        every request that was on its way then has its id by now. Whoever replaces a dead engine is told of
        requests that the client has yet to send it again: therefore no less than `_KEPT` seconds.
        """
        long_ago = monotonic() - _KEPT
        oldest = next(iter(self._coming), math.inf)
        while self._given_up and (first := next(iter(self._given_up.items())))[1] < long_ago:
            del self._given_up[first[0]]
            self._retrieved.append(first[0])
        while self._early:
            request_id, early = next(iter(self._early.items()))
            if early.since > long_ago or early.last_ticket >= oldest:
                break
            del self._early[request_id]
            self._retrieved.append(request_id)

    def _fail(self, error: EngineError) -> None:
        """Let everybody have `error`, now and later."""
        logger.debug("retrieve_futures is of no use here: %s", error)
        self._failure = error
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_exception(error)
        self._given_up.clear()
        self._retrieved.clear()
