"""One long poll that learns of every finished request of a sampler, in place of one each."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable
from contextvars import Context
from time import monotonic
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from tinker_sidecar.engine.failures import EngineError
from tinker_sidecar.engine.http import Lane, Response
from tinker_sidecar.engine.recovery import Action, Cause, Recovery, Remedy, Retries, Route
from tinker_sidecar.engine.results import PayloadBytes
from tinker_sidecar.engine.retry import NO_NEWS_PAUSE, Policy
from tinker_sidecar.engine.turns import Asking, PollTurns, Turn
from tinker_sidecar.logs import engine_logger
from tinker_sidecar.supervision import go_on

__all__ = ["FuturesPoller"]

logger = engine_logger(__name__)

_KEPT = 300.0
"""Seconds that the books keep a request in which nobody seems to have an interest."""

_QUIET = 1.0
"""Seconds after a poll before the next one that only tells the server what it may forget. Usually one that
somebody waits for comes first, and takes it along."""

_SOON = 10.0
"""The same, while requests are on their way: their poll takes it along."""

_RARELY = 30.0
"""Seconds between looks for what was given up, once there have been a few in vain."""

_LINGER = 0.25
"""Seconds that a poll stays open when nobody waits any more: a program that gives up one request often sends
the next at once, and a new poll may take a new connection."""

_FAREWELL = 2.0
"""Seconds in which the server must have taken the last acknowledgements of a sampler that is closed."""


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
    """Long-polls `retrieve_futures` for one clone of a sampling session, only while anybody waits.

    `users` hear of what is tried again: those who share it.

    `wait` returns the size of a request's result once it is there. A server without the route makes
    every `wait` raise its 404, so that the caller can fall back to polling each request. Any other error
    that lasts is raised by those who wait then; whoever comes later has it tried again.

    The server keeps each result until it is told, with a poll, that it may forget it. It is told by the
    next poll, or a second later by one that does not wait, and when the sampler is closed.

    There is a task only while it polls: of a thousand samplers most have nothing to do.
    """

    def __init__(
        self,
        post: Callable[..., Awaitable[Response]],
        turns: PollTurns,
        await_payment: Remedy,
        sampling_session_id: str,
        clone: int,
        policy: Policy,
    ) -> None:
        self.users: list[Retries] = []
        self._post = post
        self._turns = turns
        target = {
            "type": "sampling_session",
            "sampling_session_id": sampling_session_id,
            "cloned_sampler_id": clone,
        }
        self._target = msgspec.Raw(msgspec.json.encode(target))
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
        """What the last poll ended with, if that was an error that lasts."""
        self._last_poll = -math.inf
        """When the last poll was over, by `monotonic`."""
        self._looks_at = math.inf
        """When it will look if there is something to tell, without being told to."""
        self._looks_pause = _QUIET
        """Seconds until the next look for what was given up: longer after each one in vain."""
        self._policy = policy
        self._await_payment = await_payment
        self._task: asyncio.Task[None] | None = None
        self._is_open = False
        """Whether a poll is open, or waits for its turn."""
        self._asking: Asking | None = None
        """While it waits for its turn: not in a task, as a thousand samplers may."""
        self._turn: Turn | None = None
        """What the task begins with."""
        self._is_wanted = False
        """Whether somebody waits for the news of that poll; otherwise it is about to be ended."""
        self._is_ended = False
        """Whether that poll has been ended, which its task has not heard yet."""
        self._linger: asyncio.TimerHandle | None = None
        """What ends that poll in a moment."""
        self._is_closed = False

    @property
    def is_unsupported(self) -> bool:
        """The server has no such route, whatever its flags say."""
        return self._failure is not None and self._failure.status == 404

    def coming(self) -> int:
        """A request is about to be sent: the poll is to be there in time, not a round trip later.

        Returns a ticket for `came`, or `comes_not`.
        """
        self._last_ticket += 1
        self._coming[self._last_ticket] = None
        self._look_for_more()
        return self._last_ticket

    def came(self, ticket: int) -> None:
        """The server has taken the request, and somebody will `wait` for it in this turn of the loop."""
        del self._coming[ticket]

    def comes_not(self, ticket: int) -> None:
        """Nobody will wait for the request."""
        del self._coming[ticket]
        self.look()

    async def wait(self, request_id: str) -> int:
        """Bytes of the result of `request_id`, as soon as it is there (0: not known)."""
        if (early := self._early.pop(request_id, None)) is not None:
            self.look()
            return early.size
        if self._failure is not None and self.is_unsupported:
            raise self._failure
        waiter: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = waiter
        self._look_for_more()
        try:
            return await waiter
        except asyncio.CancelledError:
            self._waiting.pop(request_id, None)
            if waiter.cancelled():
                self.given_up(request_id)
            else:  # The server has told of it, in the turn of the loop in which it was cancelled.
                self.retrieved(request_id)
            raise

    def given_up(self, request_id: str) -> None:
        """Nobody wants the result: the server is told so when it has it, or at the end of our patience."""
        if self._early.pop(request_id, None) is not None:
            self.retrieved(request_id)
        elif not self.is_unsupported:
            self._given_up[request_id] = monotonic()
            self._looks_pause = _QUIET
            self.look()

    def retrieved(self, request_id: str) -> None:
        """The server may forget the result; it is told soon."""
        self._early.pop(request_id, None)  # After a poll whose answer was lost, it is told of again.
        if not self.is_unsupported:
            self._retrieved.append(request_id)
            if not self._is_open and self._due() < self._looks_at:
                self.look()

    async def close(self, *, says_farewell: bool) -> None:
        """Poll no more; who waits is not told. A farewell tells the server once more what it may forget."""
        self._is_closed = True
        self._turns.reminders.drop(self)
        await self._turns.see_off(self._take_leave(says_farewell=says_farewell))

    def _retried(self, route: Route, cause: Cause) -> None:
        for hear in self.users:
            hear(route, cause)

    async def _take_leave(self, *, says_farewell: bool) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._asking is not None:
            self._end()
        if self._turn is not None:  # The task was cancelled before it began.
            self._turns.give_back(self._turn)
        if self._retrieved and self._failure is None and says_farewell:
            with contextlib.suppress(EngineError, TimeoutError):
                async with asyncio.timeout(_FAREWELL):
                    turn = await self._turns.take(lambda: None)
                    try:
                        await self._exchange(turn, waits=False)
                    finally:
                        self._turns.give_back(turn)

    # When to poll.

    @property
    def _has_interest(self) -> bool:
        """Whether anybody waits for news, or will in a moment: for more than has been told already."""
        return bool(self._waiting) or len(self._coming) > len(self._early)

    @property
    def _wants_news(self) -> bool:
        """Whether a long poll is due.

        One for what is only coming saves a round trip where there is room for it, and is not tried again
        when it has failed.
        """
        if self._waiting:
            return True
        return self._has_interest and self._failure is None and self._turns.has_room_for_more()

    @property
    def _has_something_to_tell(self) -> bool:
        return bool(self._retrieved) or self._cursor > self._reported_cursor

    def _due(self) -> float:
        """When there is something to do though nobody waits, by `monotonic`; never: infinity."""
        if self._has_something_to_tell:
            return self._last_poll + (_SOON if self._coming or self._turns.is_busy() else _QUIET)
        if self._given_up:
            return self._last_poll + self._looks_pause
        if self._early:
            oldest = next(iter(self._early.values()))
            return max(monotonic() + _QUIET, oldest.since + _KEPT)
        return math.inf

    def look(self) -> None:
        """After whatever may change what there is to do: see to it that it is done, or will be."""
        if self._is_open:
            self._keep_or_end()
            return
        if self._task is not None or self._is_closed:
            return  # The task looks for itself.
        if self._early or self._given_up:
            self._tidy()
        if self._wants_news or (due := self._due()) <= monotonic():
            self._is_open, self._is_wanted = True, self._has_interest
            self._asking = self._turns.ask(self._begin, self._end)
        elif due < math.inf:
            self._looks_at = due
            self._turns.reminders.remind(self, due)

    def _look_for_more(self) -> None:
        """After one more has come who waits for news: a poll that is open for others is for this one, too."""
        if not (self._is_open and self._is_wanted):
            self.look()

    def _begin(self, turn: Turn) -> None:
        """Poll, as it is our turn."""
        self._asking, self._turn = None, turn
        # It outlives the program that it is begun for, if others poll, too.
        step = go_on("polls for finished requests", self._step)
        self._task = asyncio.create_task(step, context=Context())

    def _keep_or_end(self) -> None:
        """End the poll that is open in a moment, if nobody waits for it any more."""
        is_wanted = self._has_interest
        if is_wanted == self._is_wanted:
            return
        self._is_wanted = is_wanted
        if not is_wanted:
            self._linger = asyncio.get_running_loop().call_later(_LINGER, self._end)
        elif self._linger is not None:
            self._linger.cancel()

    def _end(self) -> None:
        """End the poll that is open: nobody waits, or others wait for their turn and ours has been long."""
        if self._asking is not None:
            self._turns.withdraw(self._asking)
            self._asking = None
            self._is_open = False
            self._stop_lingering()
            self.look()
        elif self._turn is None and self._is_open and not self._is_ended and self._task is not None:
            self._is_ended = True
            self._task.cancel()

    def _stop_lingering(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None

    async def _step(self) -> bool:
        """One poll, however often it must be tried; the last one of this task."""
        try:
            await self._poll()
        except EngineError as error:
            await self._recover(error)
        self._task = None
        self.look()
        return False

    async def _recover(self, failed: EngineError) -> None:
        """Try again after a poll has `failed`, as long as there is need of one."""
        remedies: dict[Action, Remedy] = {
            Action.AWAIT_PAYMENT: self._await_payment,
            Action.RESET_CURSOR: self._reset_cursor,
        }
        try:
            await Recovery(Route.POLL, self._policy, self._retried, remedies).run(
                self._poll_if_needed, failed
            )
        except EngineError as error:
            self._fail(error)

    async def _poll_if_needed(self) -> None:
        if self._wants_news or self._due() <= monotonic():
            await self._poll()

    async def _reset_cursor(self, _: EngineError) -> None:
        self._cursor = self._reported_cursor = 0

    # A poll.

    async def _poll(self) -> None:
        """One poll, when it is our turn, unless it is ended before it is answered."""
        is_held = True
        turn, self._turn = self._turn, None
        self._stop_lingering()
        self._is_open, self._is_wanted = True, self._has_interest
        try:
            turn = turn or await self._turns.take(self._end)
            is_held = await self._exchange(turn, waits=self._has_interest)
        except asyncio.CancelledError:
            # Not `asyncio.timeout`: a thousand samplers poll once for each few of their requests.
            if not self._is_ended or self._task is None or self._task.cancelling() > 1:
                raise
        finally:
            if self._is_ended and self._task is not None:
                self._task.uncancel()
            self._is_open = self._is_ended = False
            self._stop_lingering()
            if turn is not None:
                self._turns.give_back(turn)
        if not is_held:
            await asyncio.sleep(NO_NEWS_PAUSE)

    async def _exchange(self, turn: Turn, *, waits: bool) -> bool:
        """Tell the server what it may forget, and hear what is finished, or `waits` until something is.

        Returns False when the server said that there was no news, and did not hold the poll.
        """
        if not waits:
            turn.hold = 0.0
        acknowledged, self._retrieved = self._retrieved, []
        self._looks_at = math.inf
        started = monotonic()
        try:
            body = self._body(acknowledged, turn.hold)
            response = await self._post("retrieve_futures", body, lane=Lane.POLL)
            completions = [] if response.status == 408 else self._read(response.read(_Completions))
        except BaseException:
            self._retrieved = acknowledged + self._retrieved
            raise
        finally:
            self._last_poll = monotonic()
        self._failure = None
        self._looks_pause = _QUIET if completions or waits else min(2 * self._looks_pause, _RARELY)
        self._take(completions)
        self._tidy()
        long_enough = min(NO_NEWS_PAUSE, math.inf if turn.hold is None else 0.9 * turn.hold)
        return bool(completions) or not waits or self._last_poll - started >= long_enough

    def _body(self, acknowledged: list[str], hold: float | None) -> bytes:
        body: dict[str, Any] = {
            "target": self._target,
            "prev_cursor": self._cursor,
            "retrieved_request_ids": acknowledged,
        }
        if hold is not None:
            body["timeout"] = round(hold, 3)
        return msgspec.json.encode(body)

    def _read(self, answer: _Completions) -> list[_Completion]:
        self._reported_cursor, self._cursor = self._cursor, answer.cursor
        return answer.completions

    def _take(self, completions: list[_Completion]) -> None:
        for completion in completions:
            request_id = completion.request_id
            size = completion.response_payload_uncompressed_size or 0
            waiter = self._waiting.pop(request_id, None)
            if waiter is not None and not waiter.done():
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
        """Let everybody who waits have `error`, and forget what the server was to be told."""
        logger.debug("retrieve_futures is of no use here: %s", error)
        self._failure = error
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_exception(error)
        self._waiting.clear()
        self._given_up.clear()
        self._retrieved.clear()
        self._reported_cursor = self._cursor
