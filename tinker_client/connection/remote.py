"""What a process has open at its engine on behalf of clients: sessions and samplers.

What is remote here is the engine; its own sessions and samplers are in `tinker_sidecar.engine`.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import weakref
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from tinker_client.callbacks import call_isolated
from tinker_client.config import Settings
from tinker_client.connection.backend import Backend
from tinker_client.connection.clone_numbers import CloneNumbers
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

__all__ = ["RemoteSampler", "RemoteSession"]

Info = TypeVar("Info", SessionInfo, SamplerInfo)

_NO_MORE = iter(range(0)).__next__


class QueueListener(Protocol):
    """A client that has a sampler, alone or with others."""

    def _on_queue_state(self, state: str, reason: str | None) -> None: ...


class _Remote(Generic[Info]):
    """What is opened once at each engine, and again at one that replaces a dead one."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.id = backend.new_id()
        """What the engine knows it by."""
        self.generation: int | None = 0
        """The host at which it was opened last; there is none of number 0."""
        self._info: InterruptibleFuture[Info] = InterruptibleFuture()

    @property
    def has_failed(self) -> bool:
        """See `Opened`."""
        return self._info.done() and not _succeeded(self._info)

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
        self.backend.start_again()
        self._take_up()
        self._info = self.backend.call(self._opening)
        self.backend.opened(self)
        # Other threads compare it without the lock, and take what is set above for granted when it fits.
        self.generation = self.backend.generation

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
        # It may outlive this, and does not keep it.
        log = partial(_log_telemetry, backend, self.id)
        self.telemetry = Telemetry(log) if self._config.telemetry else None
        self._session_id = session_id
        self._closed = False
        weakref.finalize(self, backend.send, CloseSession(self.id)).atexit = False

    def close(self) -> None:
        """End its heartbeat. What its samplers have not answered fails."""
        self._closed = True
        with self.backend.lock:
            self.backend.closed(self)
            for sampler in self.samplers:
                self.backend.closed(sampler)
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
        """See that the engine knows this session, unless it is closed; the future gets its id or why not."""
        if self._closed:
            return self._info
        self.backend.start()
        return self._opened()

    def check_open(self) -> None:
        """Raise `TinkerError` if it is closed."""
        if self._closed:
            raise TinkerError("the client or its service client has been closed")

    def _take_up(self) -> None:
        self._session_id = self.known_session_id()

    def _opening(self, call: int) -> OpenSession:
        return OpenSession(call=call, session=self.id, config=self._config, session_id=self._session_id)

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
            and not self._numbers.are_used_up
            and not self.has_failed
        )

    def use_up_numbers(self) -> None:
        """There are no more: who wants to ask for more needs another sampler."""
        self._numbers.are_used_up = True
        self.next_offset = _NO_MORE

    def reopen(self) -> None:
        """See `Opened`."""
        super().reopen()
        if self.backend.has_fallen_back and self._numbers.clone:
            # Copies in other processes may have the same clone id: each would hear of the results of all.
            self.use_up_numbers()

    def open(self) -> InterruptibleFuture[SamplerInfo]:
        """See that the engine knows this sampler; the future gets what it is or the reason why not.

        Raises `TinkerError` if its session is closed.
        """
        self.session.check_open()
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
            numbers = self._numbers
            return SamplerInfo(self._sampling_session_id, self._base_model, numbers.clone, numbers.shift)
        return None

    def _open(self) -> None:
        super()._open()
        self._info.add_done_callback(self._numbers.learn)

    def _take_up(self) -> None:
        # It keeps its clone id, so that what is asked again has the same `seq_id`s.
        if _succeeded(self._info):
            info = self._info.result()
            self._sampling_session_id, self._base_model = info.sampling_session_id, info.base_model
            self._numbers.learn(self._info)

    def _opening(self, call: int) -> OpenSampler:
        return OpenSampler(
            call=call,
            sampler=self.id,
            session=self.session.id,
            sampling_session_id=self._sampling_session_id,
            seq_id=self._seq_id,
            base_model=self._base_model,
            model_path=self._model_path,
            clone=self._numbers.clone,
            join=self._numbers.join,
            first=self._numbers.first,
            shift=self._numbers.shift,
            retry=self.retry,
        )


def _tell(clients: weakref.WeakValueDictionary[int, QueueListener], state: str, reason: str | None) -> None:
    """Tell each client of the queue; one that raises is no business of the others."""
    for client in [reference() for reference in clients.valuerefs()]:
        if client is not None:
            call_isolated(partial(client._on_queue_state, state, reason))


def _log_telemetry(backend: Backend, session: int, event: dict[str, Any]) -> None:
    backend.send(LogTelemetry(session, event))


def _release(backend: Backend, sampler: int) -> None:
    backend.events.forget_sampler(sampler)
    backend.send(CloseSampler(sampler))


def _succeeded(future: concurrent.futures.Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None
