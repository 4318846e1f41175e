"""The engine's front: messages in, batches out. Hosted by the sidecar or by a thread of the client."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Coroutine
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from tinker_sidecar.engine.account import Accounts
from tinker_sidecar.engine.books import Books
from tinker_sidecar.engine.failures import EngineError
from tinker_sidecar.engine.inspection import make_stats
from tinker_sidecar.engine.journey import DELIVERY, Journey
from tinker_sidecar.engine.ledger import Ledger
from tinker_sidecar.engine.outbox import Outbox
from tinker_sidecar.engine.reporter import Reporter
from tinker_sidecar.engine.requests import EncodedSpec
from tinker_sidecar.engine.sampler import Sampler, open_sampler
from tinker_sidecar.engine.session import Session
from tinker_sidecar.ipc.protocol import (
    Ack,
    Batch,
    Cancel,
    CloseSampler,
    CloseSession,
    Failure,
    Inspect,
    LogTelemetry,
    Message,
    OpenSampler,
    OpenSession,
    Query,
    QueueStateEvent,
    Reply,
    RequestSpec,
    Sample,
    Taken,
)
from tinker_sidecar.ipc.stats import ProgramStats, Stats
from tinker_sidecar.ipc.watching import Watching
from tinker_sidecar.logs import engine_logger

__all__ = ["Engine"]

logger = engine_logger(__name__)

_CLOSED = Failure("TinkerError", "the client or its service client has been closed")

_OUT_OF_ORDER = Failure(
    "SidecarIPCError", "a request reached the sampling engine, but not the description of what it asks for"
)

_T = TypeVar("_T")


class Engine:
    """Serves one client. Every method runs on the engine's event loop.

    `send` takes each batch for the client, who acknowledges it with an `Ack`. `program` is the process whose
    requests these are: another one, or this one. `accounts` is what it shares with other engines in this
    process, if there are any.
    """

    def __init__(
        self,
        send: Callable[[Batch], None],
        program: int,
        watching: Watching = Watching(),  # noqa: B008
        accounts: Accounts | None = None,
    ) -> None:
        self._program = program
        self.attached: Callable[[], list[ProgramStats]] | None = None
        """Tells which programs have engines in this process, if more may have."""
        self._accounts = accounts or Accounts()
        self.books = Books(shares_gil=program == os.getpid())
        look = partial(self.stats, most_requests=3, of_process=False)
        self._reporter = Reporter(watching.log_interval, look)
        self.outbox = Outbox(send, self.books.batch_taken)
        self._sessions: dict[int, asyncio.Task[Session]] = {}
        self._openings: dict[int, asyncio.Task[Sampler]] = {}
        """The samplers that will be open, or could not be opened."""
        self._open: dict[int, Sampler] = {}
        """Those that are open, without their tasks: for a thousand of them these would take a megabyte."""
        self._session_of: dict[int, int] = {}
        self._requests: dict[int, asyncio.Task[None] | None] = {}
        """None: it has not begun."""
        self._early: dict[int, list[Journey]] = {}
        """By sampler, those that wait until it is open."""
        self._beginning: set[int] = set()
        """Those with a task that has not taken its first step: if it is cancelled, it never does."""
        self._context = copy_context()
        """The program's, for all that is done for it."""
        self._spec: EncodedSpec | None = None
        """What the client has sent last: the requests that follow ask for it."""
        self._closings: set[asyncio.Task[None]] = set()
        self._handlers: dict[type, Callable[[Any], None]] = {
            RequestSpec: self._on_spec,
            Sample: self._on_sample,
            Query: self._on_query,
            Inspect: self._on_inspect,
            Ack: self._on_ack,
            Taken: self._on_taken,
            Cancel: self._on_cancel,
            OpenSession: self._on_open_session,
            OpenSampler: self._on_open_sampler,
            LogTelemetry: self._on_log_telemetry,
            CloseSession: self._on_close_session,
            CloseSampler: self._on_close_sampler,
        }

    def handle(self, message: Message) -> None:
        """Begin what `message` asks for; its answer, if it has one, comes in a batch."""
        try:
            self._handlers[type(message)](message)
        except Exception as error:
            logger.error("unexpected error at a %s message", type(message).__name__, exc_info=error)
            if isinstance(message, Sample) and self._requests.get(message.request) is None:
                self._drop(message.request)
                self._failed(message.request, _unexpected(error))  # Nobody else would tell who waits.

    def _on_spec(self, message: RequestSpec) -> None:
        self._spec = EncodedSpec(message)

    def _on_sample(self, message: Sample) -> None:
        if message.request in self._requests:
            return  # Ctrl-C came as the client sent it, and it was sent again.
        spec = self._spec
        if spec is None or spec.spec.id != message.spec:
            self.outbox.failed(message.request, _OUT_OF_ORDER)
            return
        journey = self.books.begin(message, spec)
        self._reporter.start()
        self._requests[message.request] = None
        if (sampler := self._open.get(message.sampler)) is not None:
            sampler.line_up(journey)
            return
        opening = self._openings.get(message.sampler)
        if opening is not None and (_is_open(opening) or not opening.done()):
            self._early.setdefault(message.sampler, []).append(journey)
        else:
            self._give_up([message.request], _why_not_open(opening))

    def _on_query(self, message: Query) -> None:
        self._start(message.call, self._query(message))

    def _on_inspect(self, message: Inspect) -> None:
        data: Any
        if message.what == "stats":
            data = self.stats(message.number, message.most_requests).to_dict()
        else:
            journey = self.books.journeys.get(message.number)
            data = None if journey is None else journey.request_id
        self.outbox.reply(Reply(message.call, data=data))

    def _on_ack(self, message: Ack) -> None:
        self.outbox.acknowledged(message.batch, is_awaited=message.is_awaited)

    def _on_taken(self, message: Taken) -> None:
        self.outbox.taken(message.batch, message.at)

    def _on_cancel(self, message: Cancel) -> None:
        for request in message.requests:
            self._drop(request)
            self.books.cancelled(request)

    def _on_open_session(self, message: OpenSession) -> None:
        self._sessions[message.session] = _opening(self._open_session(message))

    def _on_open_sampler(self, message: OpenSampler) -> None:
        self._openings[message.sampler] = opening = _opening(self._open_sampler(message))
        opening.add_done_callback(partial(self._opened_sampler, message.sampler))
        self._session_of[message.sampler] = message.session

    def _on_log_telemetry(self, message: LogTelemetry) -> None:
        opening = self._sessions.get(message.session)
        if opening is not None and _is_open(opening) and (telemetry := opening.result().telemetry):
            telemetry.log(message.event)

    def _on_close_session(self, message: CloseSession) -> None:
        samplers = {number for number, session in self._session_of.items() if session == message.session}
        journeys = self.books.journeys.items()
        requests = [number for number, journey in journeys if journey.sample.sampler in samplers]
        self._give_up(requests, _CLOSED)
        for sampler in samplers:
            self._on_close_sampler(CloseSampler(sampler))
        if (opening := self._sessions.pop(message.session, None)) is not None:
            self._close(_close(opening))

    def _on_close_sampler(self, message: CloseSampler) -> None:
        self._session_of.pop(message.sampler, None)
        if (sampler := self._open.pop(message.sampler, None)) is not None:
            self._close(sampler.close())
        elif (opening := self._openings.pop(message.sampler, None)) is not None:
            self._close(_close(opening))

    # For people

    def stats(self, sampler: int = 0, most_requests: int = 0, *, of_process: bool = True) -> Stats:
        """What has happened and what is under way, all in all or at one sampler.

        With `most_requests` of those under way, the oldest first.
        """
        samplers = self._open
        ledger = self.books.ledger
        journeys = list(self.books.journeys.values())
        if sampler:
            # One that is not open yet has no requests that could have got anywhere.
            samplers = {number: it for number, it in samplers.items() if number == sampler}
            ledger = samplers[sampler].ledger if samplers else Ledger(0.0)
            journeys = [journey for journey in journeys if journey.sample.sampler == sampler]
        return make_stats(
            ledger,
            journeys,
            self._open_sessions(),
            samplers,
            self._program,
            most_requests,
            gil=self.books.gil_holders(),
            waiting=self.outbox.waiting,
            attached=None if self.attached is None else self.attached(),
            of_process=of_process,
        )

    def _waiting_in(self, session: int) -> tuple[int, float]:
        """How many requests it has, and for how many seconds they are tried again."""
        own = {number for number, its in self._session_of.items() if its == session}
        waiting = sum(journey.sample.sampler in own for journey in self.books.journeys.values())
        patience = [it.patience for number, it in self._open.items() if number in own]
        return waiting, min(patience, default=0.0)

    async def leave(self, patience: float) -> None:
        """The program is gone: close; the servers have `patience` seconds to hear that nobody waits."""
        for request in list(self._requests):
            self._drop(request)
        await asyncio.sleep(0)  # Those that have a task must see that it is cancelled.
        await asyncio.gather(*(session.settle(patience) for session in self._open_sessions()))
        await self.close()

    async def close(self) -> None:
        """Stop everything at once; what is unanswered stays so."""
        for opening in self._sessions.values():
            if _is_open(opening):
                opening.result().is_ending = True
        tasks = [task for task in self._requests.values() if task is not None]
        for request in list(self._requests):
            self._drop(request)
        await asyncio.gather(*tasks, *self._closings, return_exceptions=True)
        openings: list[asyncio.Task[Any]] = [*self._openings.values(), *self._sessions.values()]
        for sampler in list(self._open.values()):
            await sampler.close()
        for either in openings:
            await _close(either)
        self._spec = None  # In process the garbage collector may come late.

    # Requests

    def _begin(self, journey: Journey, sampler: Sampler) -> bool:
        """It is the turn of the request on `journey`, unless nobody wants it any more."""
        number = journey.sample.request
        if number not in self._requests:
            return False
        self._beginning.add(number)
        # As another program's request may have made room, it is not that one's context.
        task = asyncio.get_running_loop().create_task(self._sample(journey, sampler), context=self._context)
        self._requests[number] = task
        return True

    async def _sample(self, journey: Journey, sampler: Sampler) -> None:
        number = journey.sample.request
        self._beginning.discard(number)
        if number not in self._requests:
            sampler.never_began()
            return
        try:
            result = await sampler.sample(journey)
            journey.enter(DELIVERY)
            if self.books.record is not None:
                self.books.record(journey, sampler.info.base_model, result.payload)
            taken = partial(self._taken, journey, result.taken)
            self.outbox.done(number, result.payload, taken, journey.request_id or "")
        except EngineError as error:
            self._failed(number, error.failure)
        except Exception as error:  # noqa: BLE001  # The caller must hear of it, whatever it is.
            self._failed(number, _unexpected(error))
        finally:
            self._requests.pop(number, None)

    def _give_up(self, requests: Collection[int], failure: Failure) -> None:
        """Answer those with `failure`, whether under way or waiting, that are still unanswered."""
        for request in requests:
            if request in self._requests:
                self._drop(request)
                self._failed(request, failure)

    def _taken(self, journey: Journey, taken: Callable[[], None] | None, at: float) -> None:
        """The program has the result."""
        if taken is not None:
            taken()
        self.books.taken(journey, at)

    def _failed(self, request: int, failure: Failure) -> None:
        self.outbox.failed(request, failure)
        self.books.failed(request, failure.kind)

    async def _query(self, query: Query) -> None:
        try:
            session = await self._opened(self._sessions.get(query.session))
            self.outbox.reply(
                Reply(query.call, data=await session.get("get_server_capabilities", dict[str, Any]))
            )
        except EngineError as error:
            self.outbox.reply(Reply(query.call, failure=error.failure))
        except Exception as error:  # noqa: BLE001  # As above.
            self.outbox.reply(Reply(query.call, failure=_unexpected(error)))
        finally:
            self._requests.pop(query.call, None)

    # Sessions and samplers

    async def _open_session(self, message: OpenSession) -> Session:
        try:
            account = self._accounts.take(message.config)
            session = Session(message.config, self.outbox, account, self.books.retried, self.books.span)
            session.waiting = partial(self._waiting_in, message.session)
            try:
                info = await session.open(message.session_id)
            except BaseException:
                await session.close()
                raise
        except BaseException as error:
            self.outbox.reply(Reply(message.call, failure=_failure(error)))
            raise
        self.outbox.reply(Reply(message.call, value=info))
        return session

    async def _open_sampler(self, message: OpenSampler) -> Sampler:
        try:
            session = await self._opened(self._sessions.get(message.session))
            sampler = await open_sampler(
                session,
                message,
                partial(self._queue_state, message.sampler),
                self._begin,
                self._give_up,
            )
        except BaseException as error:
            self.outbox.reply(Reply(message.call, failure=_failure(error)))
            raise
        self.outbox.reply(Reply(message.call, value=sampler.info))
        return sampler

    def _opened_sampler(self, number: int, opening: asyncio.Task[Sampler]) -> None:
        """It is open, or will not be: go on with what waits for it."""
        early = self._early.pop(number, [])
        if _is_open(opening) and self._openings.get(number) is opening:
            del self._openings[number]
            self._open[number] = sampler = opening.result()
            for journey in early:
                if journey.sample.request in self._requests:
                    sampler.line_up(journey)
        else:
            self._give_up([journey.sample.request for journey in early], _why_not_open(opening))

    async def _opened(self, opening: asyncio.Task[Session] | None) -> Session:
        """The session, once it is open; whoever waits shares its failure."""
        if opening is None:
            raise EngineError(_CLOSED)
        try:
            return opening.result() if opening.done() else await asyncio.shield(opening)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if opening.cancelled() and task is not None and not task.cancelling():
                raise EngineError(_CLOSED) from None  # It was closed, and not who waits.
            raise

    def _open_sessions(self) -> list[Session]:
        """Those that are open."""
        return [opening.result() for opening in self._sessions.values() if _is_open(opening)]

    def _queue_state(self, sampler: int, state: str, reason: str | None) -> None:
        if (opened := self._open.get(sampler)) is not None:
            opened.queue = state, reason
        self.outbox.event(QueueStateEvent(sampler, state, reason))

    # Tasks

    def _drop(self, request: int) -> None:
        """Do nothing more for it. The client is not told."""
        task = self._requests.pop(request, None)
        if task is not None and request not in self._beginning:
            task.cancel()
        journey = self.books.journeys.get(request)
        if journey is not None and (sampler := self._open.get(journey.sample.sampler)) is not None:
            sampler.give_up(request)

    def _start(self, number: int, work: Coroutine[Any, Any, None]) -> None:
        self._requests[number] = asyncio.create_task(work)

    def _close(self, work: Coroutine[Any, Any, None]) -> None:
        closing = asyncio.create_task(work)
        self._closings.add(closing)
        closing.add_done_callback(self._closings.discard)


def _opening(work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
    task = asyncio.create_task(work)
    # A failure has been replied to; that nobody asks the task itself for it is no mistake.
    task.add_done_callback(lambda task: task.cancelled() or task.exception())
    return task


def _why_not_open(opening: asyncio.Task[Any] | None) -> Failure:
    if opening is None or opening.cancelled() or (error := opening.exception()) is None:
        return _CLOSED
    return _failure(error)


def _is_open(opening: asyncio.Task[Any]) -> bool:
    return opening.done() and not opening.cancelled() and opening.exception() is None


async def _close(opening: asyncio.Task[Any]) -> None:
    """Close a session or sampler, whether it is open, opening or never opened."""
    opening.cancel()
    opened = (await asyncio.gather(opening, return_exceptions=True))[0]
    if not isinstance(opened, BaseException):
        await opened.close()


def _failure(error: BaseException) -> Failure:
    if isinstance(error, EngineError):
        return error.failure
    if isinstance(error, asyncio.CancelledError):
        return Failure("TinkerError", "closed before it was open")
    return _unexpected(error)


def _unexpected(error: BaseException) -> Failure:
    logger.error("unexpected error in the sampling engine", exc_info=error)
    return Failure("TinkerError", f"unexpected {type(error).__name__} in the sampling engine: {error}")
