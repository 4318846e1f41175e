"""A sampler: from a `Sample` message to its result, through `asample` and `retrieve_future`."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable, Collection
from functools import partial
from time import monotonic
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from msgspec import Meta

from tinker_sidecar.engine.capacity import Place
from tinker_sidecar.engine.failures import EngineError
from tinker_sidecar.engine.fair_queue import program
from tinker_sidecar.engine.http import Lane
from tinker_sidecar.engine.journey import LIMITS, SENT_BYTES, SERVER, SUBMIT, Journey
from tinker_sidecar.engine.ledger import Ledger
from tinker_sidecar.engine.line import Line
from tinker_sidecar.engine.poller import FuturesPoller
from tinker_sidecar.engine.recovery import Action, Cause, Recovery, Remedy, Retries, Route
from tinker_sidecar.engine.results import Promise
from tinker_sidecar.engine.retrieval import QueueObserver, Retrieval
from tinker_sidecar.engine.retry import RetryPolicy
from tinker_sidecar.engine.session import Session
from tinker_sidecar.engine.stuck_detector import StuckDetector
from tinker_sidecar.ipc.protocol import Failure, OpenSampler, Retry, SamplerInfo
from tinker_sidecar.logs import engine_logger

__all__ = ["CLONE_BLOCK", "Sampler", "open_sampler"]

logger = engine_logger(__name__)

CLONE_BLOCK = 1_000_000_000
"""`seq_id`s to a clone: clone `c` numbers its requests from `c * CLONE_BLOCK` (the protocol's rule)."""

_RESUBMISSIONS = range(CLONE_BLOCK // 2, CLONE_BLOCK)
"""Where in a block requests submitted anew get their numbers, at random: the client counts up from 0,
and an engine that replaces a dead one does not know which that used."""

_PAGE = 5.0
"""Seconds that a page of a sampler's books is for: there may be a thousand samplers."""

_BACKPRESSURE = {"x-tinker-sampling-backpressure": "1"}
_NOT_RESAMPLED = (
    " (its result is gone from the server, and it is not sampled anew: "
    "RetryConfig.enable_retry_logic, or the server's flag sample_no_retries, says so)"
)


class _SamplingSession(msgspec.Struct):
    sampling_session_id: str


class _Joined(msgspec.Struct):
    # `seq_id`s are 64 bits wide.
    client_counter: Annotated[int, Meta(ge=0, lt=2**63 // CLONE_BLOCK)]


class _SamplerRecord(msgspec.Struct):
    base_model: str | None = None


Begin = Callable[[Journey, "Sampler"], bool]
"""Begins with a request, unless nobody wants it any more."""

OnStuck = Callable[[Collection[int], Failure], None]
"""Hears which requests seem to be stuck, and how they fail."""


class Result(msgspec.Struct, frozen=True):
    payload: bytes
    """An encoded `SampleResult`."""
    taken: Callable[[], None] | None = None
    """To be called once the client has it: until then the server must keep it, for an engine that replaces
    this one."""


async def open_sampler(
    session: Session, opening: OpenSampler, observer: QueueObserver, begin: Begin, on_stuck: OnStuck
) -> Sampler:
    """Create the sampling session that `opening` asks for, or attach to the one it names."""
    sampling_session_id = opening.sampling_session_id
    base_model, clone, shift = opening.base_model, opening.clone, opening.shift
    if sampling_session_id is None:
        body: dict[str, Any] = {
            "session_id": session.session_id,
            "sampling_session_seq_id": opening.seq_id,
            "type": "create_sampling_session",
        }
        if opening.model_path is not None:
            body["model_path"] = opening.model_path
        if opening.base_model is not None:
            body["base_model"] = opening.base_model
        created = await session.ask("create_sampling_session", body, _SamplingSession)
        sampling_session_id = created.sampling_session_id
    if opening.join:
        clone, shift = await _clone_of_a_copy(session, sampling_session_id, opening)
    if base_model is None:
        base_model = await _base_model(session, sampling_session_id)
    info = SamplerInfo(sampling_session_id, base_model, clone, shift)
    return Sampler(session, info, opening.retry, observer, begin, on_stuck)


async def _clone_of_a_copy(
    session: Session, sampling_session_id: str, opening: OpenSampler
) -> tuple[int, int]:
    """A clone id, and what to add to what the client counts, so that no other copy has the same numbers."""

    async def new_clone() -> int:
        if not session.flags.sample_join_sampling_session:
            return opening.clone
        body = {"sampling_session_id": sampling_session_id, "type": "join_sampling_session"}
        # 0 is the original's: a server that says so leaves the choice to us.
        return (await session.ask("join_sampling_session", body, _Joined)).client_counter or opening.clone

    if not session.flags.sample_use_retrieve_futures:
        return await new_clone(), 0
    likes = sampling_session_id, opening.retry
    clone, first = await session.account.copies.numbers(likes, opening.first, new_clone)
    return clone, first - opening.first


def _sampler_route(sampling_session_id: str) -> str:
    """Where a server tells about a sampler; whatever its id is made of, it stays one part of the path."""
    return f"samplers/{quote(sampling_session_id, safe='')}"


async def _base_model(session: Session, sampling_session_id: str) -> str | None:
    try:
        return (await session.get(_sampler_route(sampling_session_id), _SamplerRecord)).base_model
    except EngineError as error:
        if error.status == 404:
            return None  # The server is an older one. Whoever asks for the name gets an error.
        raise


def _count_retry(ledger: Ledger, retries: Retries, route: Route, cause: Cause) -> None:
    ledger.retried(cause.label)
    retries(route, cause)


def _is_excused(session: Session, policy: RetryPolicy, *, detects_stuck: bool) -> bool:
    """Whether requests may wait without end. A server that refuses all of them is told to the user even
    where nobody wants to be told of slow ones.
    """
    if session.billing.is_on:
        return True
    return not detects_stuck and session.capacity.refusing_for < policy.patience


class Sampler:
    """Sends requests of one sampling session and waits for their results.

    `observer` hears of the server's queue: its state and the reason the server gives. `begin` is called when
    it is a request's turn, and calls `sample`. `on_stuck` is to end all requests here, if they seem to be
    stuck.
    """

    def __init__(
        self,
        session: Session,
        info: SamplerInfo,
        retry: Retry,
        observer: QueueObserver,
        begin: Begin,
        on_stuck: OnStuck,
    ) -> None:
        self.info = info
        self.session = session
        self.ledger = Ledger(_PAGE)
        """What happened to its requests."""
        self.queue: tuple[str, str | None] = "active", None
        """What the server said last of its queue: the state and the reason."""
        self._policy = RetryPolicy(retry, resamples=not session.flags.sample_no_retries)
        # No methods of this object here, nor below: with a circle it would stay in memory after its end.
        self._retried = partial(_count_retry, self.ledger, session.retries)
        self._retrieving = Recovery(
            Route.RETRIEVE,
            self._policy,
            self._retried,
            {Action.AWAIT_PAYMENT: session.billing.wait},
        )
        self._observer = observer
        self._begin = begin
        self._seq_id_base = info.clone * CLONE_BLOCK
        self._first_seq_id = self._seq_id_base + info.shift
        self._likes = info.sampling_session_id, retry
        self._poller: FuturesPoller | None = None
        most = retry.max_connections or None
        if session.flags.sample_use_retrieve_futures:
            copies = session.account.copies
            self._poller = copies.poller(self._likes, info.clone, self._policy, self._retried)
        else:
            # Each request in flight holds a connection.
            most = min(most or sys.maxsize, session.flags.sample_max_concurrent_requests)
        self._slots = None if most is None else Line(most)
        self._under_way = session.http.short_requests_needed
        self._post = session.post
        self._program = program.get()
        detects_stuck = retry.enable_stuck_detection and session.flags.sample_enable_stuck_detection
        self._stuck_detector = StuckDetector(
            info.sampling_session_id,
            self._first_seq_id,
            retry.progress_timeout,
            session.reminders,
            partial(_is_excused, session, self._policy, detects_stuck=detects_stuck),
            session.capacity.trouble,
            on_stuck,
        )

    @property
    def patience(self) -> float:
        """Seconds for which requests are tried again."""
        return self._policy.patience

    async def close(self) -> None:
        """Poll no more, and watch over nothing. What is unanswered is not told."""
        session = self.session
        if session.flags.sample_use_retrieve_futures:
            farewell = not session.is_ending
            await session.account.copies.leave(
                self._likes, self.info.clone, self._retried, says_farewell=farewell
            )
        self._stuck_detector.close()

    def line_up(self, journey: Journey) -> None:
        """Have the request on `journey` begin when it is its turn."""
        ledger = journey.ledger = self.ledger
        journey.sampling_session_id = self.info.sampling_session_id
        if journey.since >= ledger.turns_at:
            ledger.turn(journey.since)
        ledger.page.submitted += 1
        self._stuck_detector.begin(journey)
        if self._slots is None:
            self.session.dispatches.join(self._program, self, self._begin, journey, self)
        else:
            self._slots.join(0, None, self._has_slot, journey)

    def _has_slot(self, journey: Journey) -> bool:
        if not self._stuck_detector.is_pending(journey.sample.request):
            return False  # It has been given up.
        self.session.dispatches.join(self._program, self, self._has_both, journey)
        return True

    def _has_both(self, journey: Journey) -> bool:
        if self._begin(journey, self):
            return True
        # Later, as the next one may be given up, too, and so on.
        assert self._slots is not None
        asyncio.get_running_loop().call_soon(self._slots.leave)
        return False

    def give_up(self, request: int) -> None:
        """Nobody waits for it any more. If it has begun, its task has been cancelled."""
        self._stuck_detector.end(request)

    def never_began(self) -> None:
        """A request has been given up when it was to begin at once, and does not."""
        self.session.dispatches.leave()
        if self._slots is not None:
            self._slots.leave()

    async def sample(self, journey: Journey) -> Result:
        """The result of the request on `journey`, whose turn it is.

        If the result is gone from the server, the request is submitted anew under another number.
        """
        place = self._place()
        try:
            retrieval = await self._submit(place, journey, self._first_seq_id + journey.sample.offset)
            try:
                result = await self._finish(retrieval)
            except EngineError as error:
                if error.status != 410:
                    raise
                result = await self._finish_anew(error, place, retrieval, journey)
            self._stuck_detector.progressed()
            return result
        finally:
            self._stuck_detector.end(journey.sample.request)
            place.leave()
            if self._slots is not None:
                self._slots.leave()

    def _place(self) -> Place:
        """A place for one more request, behind all others that the server has yet to take."""
        return self.session.capacity.place(self._under_way)

    async def _finish_anew(
        self, gone: EngineError, place: Place, retrieval: Retrieval, journey: Journey
    ) -> Result:
        """Go on where the result of `retrieval` is `gone` from the server, if that may be."""
        if not self._policy.resamples:
            raise gone.adding(_NOT_RESAMPLED)

        async def submit_anew(_: EngineError) -> None:
            nonlocal retrieval
            logger.debug("request %s is gone from the server; submitting it anew", retrieval.request_id)
            place.leave()
            journey.enter(LIMITS)
            await self.session.dispatches.enter(self._program, self)
            seq_id = self._seq_id_base + random.choice(_RESUBMISSIONS)
            retrieval = await self._submit(place, journey, seq_id)

        async def attempt() -> Result:
            return await self._finish(retrieval)

        remedies: dict[Action, Remedy] = {Action.SUBMIT_ANEW: submit_anew}
        return await Recovery(Route.REQUEST, self._policy, self._retried, remedies).run(attempt, gone)

    async def _submit(self, place: Place, journey: Journey, seq_id: int) -> Retrieval:
        """Have the server take the request under this number, and leave the line then."""
        session = self.session
        held = 0
        try:
            # Now, not before: the bodies of all that wait would be most of their memory.
            body = journey.spec.body(self.info.sampling_session_id, seq_id)
            held = await session.prompt_bytes.take(len(body))
            started = monotonic()
            try:
                promise = await self._dispatch(place, journey, body)
            except EngineError as error:
                promise = await self._dispatch_again(error, place, journey, body)
        finally:
            session.prompt_bytes.give_back(held)
            session.dispatches.leave()
        journey.request_id = promise.request_id
        journey.enter(SERVER)
        return Retrieval(
            session,
            promise,
            journey,
            submission_seconds=monotonic() - started,
            recovery=self._retrieving,
            observer=self._observer,
            place=place,
        )

    async def _finish(self, retrieval: Retrieval) -> Result:
        request_id = retrieval.request_id
        poller = self._poller
        try:
            try:
                result = await retrieval.result(poller)
            except EngineError as error:
                if poller is None or error.status != 404 or not poller.is_unsupported:
                    raise
                # The server promised a route it does not have.
                self._poller = poller = None
                return Result(await retrieval.result(None))
        except asyncio.CancelledError:
            self.session.cancel(request_id)
            raise
        except EngineError as error:
            if poller is not None and error.failure.kind == "RequestFailedError":
                poller.retrieved(request_id)
            raise
        if poller is None:
            return Result(result)
        return Result(result, partial(poller.retrieved, request_id))

    async def _dispatch_again(
        self, failed: EngineError, place: Place, journey: Journey, body: bytes
    ) -> Promise:
        """Send `body` until the server takes it, if that may be after it has `failed` once."""
        session = self.session

        async def dispatch() -> Promise:
            session.dispatches.go_on()
            try:
                return await self._dispatch(place, journey, body)
            finally:
                session.dispatches.rest()

        async def back_off(error: EngineError) -> None:
            journey.enter(LIMITS)
            refused_at = monotonic()
            await place.refused(error.retry_after)
            session.span("throttled", "429", refused_at, monotonic())

        async def await_payment(error: EngineError) -> None:
            journey.enter(LIMITS)
            paused_at = monotonic()
            await session.billing.wait(error)
            session.span("throttled", "402", paused_at, monotonic())

        remedies = {
            Action.AWAIT_PAYMENT: await_payment,
            Action.BACK_OFF: back_off,
            Action.RENEW_CONNECTIONS: self._renew_connections,
        }
        recovery = Recovery(Route.SUBMIT, self._policy, self._retried, remedies)
        run = recovery.run(dispatch, failed)
        del failed  # If it is what is raised, it keeps this frame: a circle otherwise.
        session.dispatches.rest()
        try:
            return await run
        finally:
            session.dispatches.go_on()

    async def _renew_connections(self, _: EngineError) -> None:
        self.session.http.renew(Lane.SHORT)

    async def _dispatch(self, place: Place, journey: Journey, body: bytes) -> Promise:
        """Send `body` once, when the server has room for it."""
        if not place.try_enter():
            self.session.dispatches.rest()
            try:
                await place.wait()
            finally:
                self.session.dispatches.go_on()
        journey.enter(SUBMIT)
        journey.figures[SENT_BYTES] += len(body)
        poller = self._poller
        # The poll is to be there in time for a result that is quick.
        ticket = poller.coming() if poller is not None else 0
        promise = None
        try:
            promise = (await self._post("asample", body, _BACKPRESSURE, Lane.SHORT)).read(Promise)
        except asyncio.CancelledError:
            self.session.spawn(self._take_back(body), is_farewell=True)
            raise
        except EngineError as error:
            if error.status != 429:
                place.leave()
            raise
        finally:
            if poller is not None:
                (poller.comes_not if promise is None else poller.came)(ticket)
        place.accepted()
        if self.session.billing.is_told:
            self.session.billing.end()
        return promise

    async def _take_back(self, body: bytes) -> None:
        """Cancel what was given up half-way, and the server may have all the same.

        Sent once more it is the same request to the server, whose answer tells what to cancel.
        """
        if self.session.dynamic.sample_cancel_enabled and not self.session.is_ending:
            try:
                with self._place() as place:
                    async with self.session.prompt_bytes.hold(len(body)):
                        await place.enter()
                        response = await self._post("asample", body, _BACKPRESSURE, Lane.SHORT)
                    request_id = response.read(Promise).request_id
                    if self._poller is not None:
                        self._poller.given_up(request_id)
                    self.session.cancel(request_id)
            except EngineError as error:
                logger.info("could not take back what was given up: %s", error)
