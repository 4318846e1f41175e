"""What a process has open at its engine on behalf of clients: sessions and samplers."""

from __future__ import annotations

import concurrent.futures
import itertools
import weakref
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from tinker_client.callbacks import call_isolated
from tinker_client.config import Settings
from tinker_client.connection.backend import Backend
from tinker_client.connection.clone_numbers import (
    CloneNumbers,
    Sampler,
    numbers_of_a_copy,
    numbers_of_the_original,
    recycle,
)
from tinker_client.errors import TinkerError
from tinker_client.futures import InterruptibleFuture
from tinker_client.telemetry import Telemetry
from tinker_sidecar.ipc.protocol import (
    CloseSampler,
    CloseSession,
    LogTelemetry,
    Message,
    OpenSampler,
    OpenSession,
    Retry,
    SamplerInfo,
    SessionInfo,
)

if TYPE_CHECKING:
    import asyncio

__all__ = [
    "PendingRequest",
    "RemoteSampler",
    "RemoteSession",
    "attach_sampler",
    "attach_session",
    "copy_of_the_parents",
    "create_sampler",
    "open_sessions",
]

Info = TypeVar("Info", SessionInfo, SamplerInfo)


class QueueListener(Protocol):
    """A client that has a sampler's handle, alone or with others."""

    def _on_queue_state(self, state: str, reason: str | None) -> None: ...


class _Remote(Generic[Info]):
    """What is opened once at each engine, and again at one that replaces a dead one."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.id = backend.new_id()
        self.generation: int | None = 0
        self._info: InterruptibleFuture[Info] = InterruptibleFuture()

    def reopen(self) -> None:
        """See `Opened`. While the first opening is under way, that is simply asked for again."""
        if _succeeded(self._info):
            self._open()
        elif not self._info.done():
            self.generation = self.backend.generation

    def _opened(self) -> InterruptibleFuture[Info]:
        """See that the engine that runs now knows this; the future gets what it is or why it is not."""
        backend = self.backend
        if self.generation != backend.generation:
            with backend.lock:
                if self.generation != backend.generation:
                    self._open()
        return self._info

    def _open(self) -> None:
        self._take_up()
        self._info = self.backend.call(self._opening)
        self.backend.opened(self)
        self.generation = self.backend.generation  # Last: other threads test it without the lock.

    def _take_up(self) -> None:
        """Have an engine that replaces a dead one attach to what that one created."""
        raise NotImplementedError

    def _opening(self, call: int) -> Message:
        raise NotImplementedError


class RemoteSession(_Remote[SessionInfo]):
    """A session at this process's engine: created with the first `open`, taken up again after a restart."""

    def __init__(self, backend: Backend, settings: Settings, session_id: str | None) -> None:
        super().__init__(backend)
        self.settings = settings
        self._config = settings.resolve()
        self.sampler_seq_ids = itertools.count()
        self.samplers: weakref.WeakSet[RemoteSampler] = weakref.WeakSet()
        self.telemetry = Telemetry(self._log_telemetry) if self._config.telemetry else None
        self._session_id = session_id
        self._closed = False
        weakref.finalize(self, backend.send, CloseSession(self.id)).atexit = False
        _sessions.setdefault(backend, weakref.WeakSet()).add(self)

    def close(self) -> None:
        self._closed = True
        self.backend.closed(self)
        self.backend.send(CloseSession(self.id))

    @property
    def is_open(self) -> bool:
        """Whether the engine that runs now has been asked for it."""
        return not self._closed and self.generation == self.backend.generation

    def serves(self, settings: Settings, session_id: str) -> bool:
        """Whether this is that session, and open."""
        return (
            not self._closed
            and self.settings.base_url == settings.base_url
            and settings.api_key in (None, self.settings.api_key)
            and self.known_session_id() == session_id
        )

    def open(self) -> InterruptibleFuture[SessionInfo]:
        """See that the engine knows this session; the future gets its id or the reason why not."""
        self.backend.start()
        return self._opened()

    def _take_up(self) -> None:
        self._session_id = self.known_session_id()

    def _opening(self, call: int) -> OpenSession:
        return OpenSession(call, self.id, self._config, self._session_id)

    def _log_telemetry(self, event: dict[str, Any]) -> None:
        self.backend.send(LogTelemetry(self.id, event))

    def known_session_id(self) -> str | None:
        """The id, if it is known without asking."""
        return self._info.result().session_id if _succeeded(self._info) else self._session_id


class RemoteSampler(_Remote[SamplerInfo]):
    """A sampling session at this process's engine, and the numbers of its requests.

    It is there for all clients in this process that are copies of one another and have the same settings:
    they share its numbers, limits and polls, and all hear of its queue.
    """

    def __init__(
        self,
        session: RemoteSession,
        *,
        sampling_session_id: str | None,
        base_model: str | None,
        model_path: str | None,
        numbers: CloneNumbers,
        retry: Retry,
    ) -> None:
        super().__init__(session.backend)
        self.session = session
        self.next_offset = numbers.next_offset
        self.clients: weakref.WeakValueDictionary[int, QueueListener] = weakref.WeakValueDictionary()
        """Those who have it, by `id`."""
        self.last_queue_warning = float("-inf")
        self._sampling_session_id = sampling_session_id
        self._base_model = base_model
        self._model_path = model_path
        self._seq_id = next(session.sampler_seq_ids) if sampling_session_id is None else 0
        self._numbers = numbers
        self.retry = retry
        self.backend.events.observe_queue(self.id, partial(_tell, self.clients))
        weakref.finalize(self, _release, self.backend, self.id).atexit = False
        session.samplers.add(self)

    def serves(self, sampling_session_id: str, retry: Retry) -> bool:
        """Whether a copy with these settings can have it: it is that sampler, as far as is known."""
        info = self.known_info()
        return (
            info is not None
            and info.sampling_session_id == sampling_session_id
            and self.retry == retry
            and not (self._info.done() and not _succeeded(self._info))
        )

    def open(self) -> InterruptibleFuture[SamplerInfo]:
        """See that the engine knows this sampler; the future gets what it is or the reason why not."""
        if self.generation != self.backend.generation:
            self.session.open()
        return self._opened()

    def describe(self) -> str:
        """Its name, for people."""
        info = self.known_info()
        return info.sampling_session_id if info else self._model_path or self._base_model or "a sampler"

    def known_info(self) -> SamplerInfo | None:
        """What the sampler is, if it is known without asking."""
        if _succeeded(self._info):
            return self._info.result()
        if self._sampling_session_id is not None:
            return SamplerInfo(self._sampling_session_id, self._base_model, self._numbers.clone)
        return None

    def _open(self) -> None:
        super()._open()
        self._info.add_done_callback(self._numbers.learn)

    def _take_up(self) -> None:
        # Under the same clone id.
        if _succeeded(self._info):
            info = self._info.result()
            self._sampling_session_id, self._base_model = info.sampling_session_id, info.base_model
            self._numbers.learn(self._info)

    def _opening(self, call: int) -> OpenSampler:
        return OpenSampler(
            call,
            self.id,
            self.session.id,
            self._sampling_session_id,
            self._seq_id,
            self._base_model,
            self._model_path,
            self._numbers.clone,
            self._numbers.join,
            self.retry,
        )


class PendingRequest:
    """A request under way. Keeps its sampler open, since the client may be gone before the answer."""

    __slots__ = ("_request", "_sampler", "_submitted_at")

    def __init__(self, handle: RemoteSampler, request: int) -> None:
        self._sampler = handle
        self._request = request
        self._submitted_at = monotonic()

    def describe(self) -> str:
        age = monotonic() - self._submitted_at
        return f"the request to {self._sampler.describe()} was submitted {age:.1f} s ago and is unanswered"

    def wait(self, done: Callable[[], bool], timeout: float | None) -> None:
        self._sampler.backend.wait(done, timeout)

    def read_on(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sampler.backend.read_on(loop)

    def cancel(self) -> None:
        self._sampler.backend.cancel(self._request)


def attach_session(backend: Backend, settings: Settings, session_id: str) -> RemoteSession:
    """The handle of a session that exists, shared by all its clients in this process: one heartbeat."""
    with backend.lock:
        for handle in _sessions.get(backend, ()):
            if handle.serves(settings, session_id):
                return handle
        return RemoteSession(backend, settings, session_id)


def create_sampler(
    session: RemoteSession, base_model: str | None, model_path: str | None, retry: Retry
) -> RemoteSampler:
    """A new sampler of `session`."""
    with session.backend.lock:
        return RemoteSampler(
            session,
            sampling_session_id=None,
            base_model=base_model,
            model_path=model_path,
            numbers=numbers_of_the_original(),
            retry=retry,
        )


def attach_sampler(
    session: RemoteSession, sampling_session_id: str, base_model: str | None, retry: Retry
) -> RemoteSampler:
    """The handle of a sampler that exists, shared by all its copies in this process that `retry` likewise."""
    with session.backend.lock:
        for handle in session.samplers:
            if handle.serves(sampling_session_id, retry):
                return handle
        sampler: Sampler = session.settings.base_url, sampling_session_id
        numbers = numbers_of_a_copy(sampler)
        handle = RemoteSampler(
            session,
            sampling_session_id=sampling_session_id,
            base_model=base_model,
            model_path=None,
            numbers=numbers,
            retry=retry,
        )
        weakref.finalize(handle, recycle, sampler, numbers).atexit = False
        return handle


def copy_of_the_parents(parent: RemoteSampler, backend: Backend) -> RemoteSampler:
    """In a forked child: the sampler that the parent process has, with numbers of this process's own."""
    info, session_id = parent.known_info(), parent.session.known_session_id()
    if info is None or session_id is None:
        raise TinkerError(
            "this client was forked before the server had confirmed it: call .result() on it before forking"
        )
    session = attach_session(backend, parent.session.settings, session_id)
    return attach_sampler(session, info.sampling_session_id, info.base_model, parent.retry)


def open_sessions(backend: Backend) -> list[RemoteSession]:
    """The sessions that this process has open there."""
    return [handle for handle in _sessions.get(backend, ()) if handle.is_open]


_sessions: weakref.WeakKeyDictionary[Backend, weakref.WeakSet[RemoteSession]] = weakref.WeakKeyDictionary()


def _tell(clients: weakref.WeakValueDictionary[int, QueueListener], state: str, reason: str | None) -> None:
    """Tell each client of the queue; one that raises is no business of the others."""
    for client in [reference() for reference in clients.valuerefs()]:
        if client is not None:
            call_isolated(partial(client._on_queue_state, state, reason))


def _release(backend: Backend, number: int) -> None:
    backend.events.forget_sampler(number)
    backend.send(CloseSampler(number))


def _succeeded(future: concurrent.futures.Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None
