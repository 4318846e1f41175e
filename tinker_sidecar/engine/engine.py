"""The engine's front: messages in, batches out. Hosted by the sidecar or by a thread of the client."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from time import monotonic
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from tinker_sidecar.engine.capacity import Capacity
from tinker_sidecar.engine.failures import EngineError
from tinker_sidecar.engine.outbox import Outbox
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
    LogTelemetry,
    Message,
    OpenSampler,
    OpenSession,
    Query,
    QueueStateEvent,
    Reply,
    RequestSpec,
    Sample,
    ServiceConfig,
)
from tinker_sidecar.logs import engine_logger

__all__ = ["Engine"]

logger = engine_logger(__name__)

_CLOSED = Failure("TinkerError", "the client or its service client has been closed")

_OUT_OF_ORDER = Failure(
    "SidecarIPCError", "a request reached the sampling engine, but not the description of what it asks for"
)

_T = TypeVar("_T")


class _Line:
    """A sampler's requests that have not begun: a task takes memory, and few can be submitted at once."""

    MOST_AT_ONCE = 512

    def __init__(self, sampler: int) -> None:
        self.sampler = sampler
        self.waiting: deque[tuple[Sample, EncodedSpec, asyncio.Task[Sampler] | None]] = deque()
        """Some may have been cancelled meanwhile."""
        self.beginning: set[int] = set()
        """Those that have a task, and have not been submitted yet."""


class Engine:
    """Serves one client. Every method runs on the engine's event loop.

    `send` takes each batch for the client, who acknowledges it with an `Ack`.
    """

    def __init__(self, send: Callable[[Batch], None]) -> None:
        self.outbox = Outbox(send)
        self._sessions: dict[int, asyncio.Task[Session]] = {}
        self._samplers: dict[int, asyncio.Task[Sampler]] = {}
        self._session_of: dict[int, int] = {}
        self._requests: dict[int, asyncio.Task[None] | None] = {}
        """None: it has not begun."""
        self._lines: dict[int, _Line] = {}
        self._spec: EncodedSpec | None = None
        """What the client has sent last: the requests that follow ask for it."""
        self._line_of: dict[int, _Line] = {}
        self._closings: set[asyncio.Task[None]] = set()
        self._capacities: WeakValueDictionary[tuple[str | None, ...], Capacity] = WeakValueDictionary()
        self._handlers: dict[type, Callable[[Any], None]] = {
            RequestSpec: self._on_spec,
            Sample: self._on_sample,
            Query: self._on_query,
            Ack: self._on_ack,
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

    def _on_spec(self, message: RequestSpec) -> None:
        self._spec = EncodedSpec(message)

    def _on_sample(self, message: Sample) -> None:
        if message.request in self._requests:
            return  # Ctrl-C came as the client sent it, and it was sent again.
        if self._spec is None or self._spec.spec.id != message.spec:
            self.outbox.failed(message.request, _OUT_OF_ORDER)
            return
        self._requests[message.request] = None
        line = self._lines.get(message.sampler)
        if line is None:
            line = self._lines[message.sampler] = _Line(message.sampler)
        self._line_of[message.request] = line
        line.waiting.append((message, self._spec, self._samplers.get(message.sampler)))
        self._begin(line)

    def _on_query(self, message: Query) -> None:
        self._start(message.call, self._query(message))

    def _on_ack(self, message: Ack) -> None:
        self.outbox.acknowledged(message.batch)

    def _on_cancel(self, message: Cancel) -> None:
        for request in message.requests:
            self._drop(request)

    def _on_open_session(self, message: OpenSession) -> None:
        self._sessions[message.session] = _opening(self._open_session(message))

    def _on_open_sampler(self, message: OpenSampler) -> None:
        self._samplers[message.sampler] = _opening(self._open_sampler(message))
        self._session_of[message.sampler] = message.session

    def _on_log_telemetry(self, message: LogTelemetry) -> None:
        opening = self._sessions.get(message.session)
        if opening is not None and _is_open(opening) and (telemetry := opening.result().telemetry):
            telemetry.log(message.event)

    def _on_close_session(self, message: CloseSession) -> None:
        for sampler in [number for number, session in self._session_of.items() if session == message.session]:
            for request in [number for number, line in self._line_of.items() if line.sampler == sampler]:
                self._drop(request)
                self.outbox.failed(request, _CLOSED)
            self._on_close_sampler(CloseSampler(sampler))
        self._close(self._sessions.pop(message.session, None))

    def _on_close_sampler(self, message: CloseSampler) -> None:
        self._session_of.pop(message.sampler, None)
        self._lines.pop(message.sampler, None)  # What is in it goes on.
        self._close(self._samplers.pop(message.sampler, None))

    async def close(self) -> None:
        """Stop everything at once; what is unanswered stays so."""
        for opening in self._sessions.values():
            if _is_open(opening):
                opening.result().is_ending = True
        tasks = [task for task in self._requests.values() if task is not None]
        self._requests.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self._closings, return_exceptions=True)
        for opened in (*self._samplers.values(), *self._sessions.values()):
            await _close(opened)

    # Requests

    def _begin(self, line: _Line) -> None:
        while line.waiting and len(line.beginning) < line.MOST_AT_ONCE:
            message, spec, opening = line.waiting.popleft()
            number = message.request
            if number in self._requests:
                line.beginning.add(number)
                self._start(
                    number, self._sample(message, spec, opening, partial(self._has_begun, line, number))
                )

    def _has_begun(self, line: _Line, number: int) -> None:
        line.beginning.discard(number)
        self._begin(line)

    def _are_stuck(self, sampler: int, failure: Failure) -> None:
        """Those that have not begun fail with those that have."""
        if line := self._lines.get(sampler):
            numbers = [message.request for message, _, _ in line.waiting if message.request in self._requests]
            line.waiting.clear()
            for number in numbers:
                self._drop(number)
                self.outbox.failed(number, failure)

    async def _sample(
        self,
        request: Sample,
        spec: EncodedSpec,
        opening: asyncio.Task[Sampler] | None,
        has_begun: Callable[[], None],
    ) -> None:
        number = request.request
        try:
            sampler = await self._opened(opening)
            result = await sampler.sample(request, spec, has_begun)
            self.outbox.done(number, result.payload, result.taken)
        except EngineError as error:
            self.outbox.failed(number, error.failure)
        except Exception as error:  # noqa: BLE001  # The caller must hear of it, whatever it is.
            self.outbox.failed(number, _unexpected(error))
        finally:
            self._requests.pop(number, None)
            self._line_of.pop(number, None)
            has_begun()

    async def _query(self, query: Query) -> None:
        try:
            session = await self._opened(self._sessions.get(query.session))
            self.outbox.reply(Reply(query.call, data=await _answer(session, query)))
        except EngineError as error:
            self.outbox.reply(Reply(query.call, failure=error.failure))
        except Exception as error:  # noqa: BLE001  # As above.
            self.outbox.reply(Reply(query.call, failure=_unexpected(error)))
        finally:
            self._requests.pop(query.call, None)

    # Sessions and samplers

    async def _open_session(self, message: OpenSession) -> Session:
        try:
            session = Session(message.config, self.outbox, self._capacity(message.config))
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

    def _capacity(self, config: ServiceConfig) -> Capacity:
        """What the server gives to whoever has this credential."""
        owner = (config.base_url, config.api_key, config.credential_command)
        return self._capacities.setdefault(owner, Capacity())

    async def _open_sampler(self, message: OpenSampler) -> Sampler:
        try:
            session = await self._opened(self._sessions.get(message.session))
            sampler = await open_sampler(
                session,
                message,
                partial(self._queue_state, message.sampler),
                partial(self._are_stuck, message.sampler),
            )
        except BaseException as error:
            self.outbox.reply(Reply(message.call, failure=_failure(error)))
            raise
        self.outbox.reply(Reply(message.call, value=sampler.info))
        return sampler

    async def _opened(self, opening: asyncio.Task[Any] | None) -> Any:
        """The session or sampler, once it is open; whoever waits shares its failure."""
        if opening is None:
            raise EngineError(_CLOSED)
        if opening.done():
            return opening.result()
        return await asyncio.shield(opening)

    def _queue_state(self, sampler: int, state: str, reason: str | None) -> None:
        self.outbox.event(QueueStateEvent(sampler, state, reason))

    # Tasks

    def _drop(self, request: int) -> None:
        # Here, not when it ends: a task that is cancelled before its first step runs nothing at all.
        line = self._line_of.pop(request, None)
        if task := self._requests.pop(request, None):
            task.cancel()
        if line is not None:
            self._has_begun(line, request)

    def _start(self, number: int, work: Coroutine[Any, Any, None]) -> None:
        self._requests[number] = asyncio.create_task(work)

    def _close(self, opened: asyncio.Task[Any] | None) -> None:
        if opened is not None:
            closing = asyncio.create_task(_close(opened))
            self._closings.add(closing)
            closing.add_done_callback(self._closings.discard)


def _opening(work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
    task = asyncio.create_task(work)
    # A failure has been replied to; that nobody asks the task itself for it is no mistake.
    task.add_done_callback(lambda task: task.cancelled() or task.exception())
    return task


async def _answer(session: Session, query: Query) -> Any:
    if query.what == "heartbeat":
        return None if session.last_heartbeat is None else monotonic() - session.last_heartbeat
    return await session.get("get_server_capabilities", dict[str, Any])


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
