"""The client's side of an engine, wherever it runs: who waits for what, and what is open there."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from tinker_client.callbacks import run_soon
from tinker_client.config import Limits
from tinker_client.connection.in_flight import InFlight
from tinker_client.connection.restarts import Restarts
from tinker_client.connection.sendable import checked_message
from tinker_client.connection.switch_interval import SwitchInterval
from tinker_client.errors import SidecarDiedError, SidecarError, SidecarStartupError, from_failure
from tinker_client.futures import APIFuture, InterruptibleFuture, wake_together
from tinker_client.running_loop import runs_event_loop
from tinker_client.types import SampleResponse
from tinker_sidecar.ipc.protocol import (
    Batch,
    Cancel,
    Event,
    LogLine,
    Message,
    QueueStateEvent,
    Reply,
    RequestSpec,
    Sample,
)

if TYPE_CHECKING:
    import asyncio

__all__ = ["Backend", "Host"]

logger = logging.getLogger(__name__)

_LAUNCH_TIMEOUT = 2.0


class Host(Protocol):
    """Runs an engine for a backend, which it hands each batch by `Backend.deliver`."""

    def send(self, message: Message) -> None:
        """Pass `message` to the engine, from any thread, without blocking."""

    def wait(self, done: Callable[[], bool], timeout: float | None) -> None:
        """Lend this thread, which blocks until `done()`, to the delivery of batches; may return early."""

    def read_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Lend `loop`, the running one, to the delivery of batches."""

    def close(self) -> None:
        """Stop the engine and free what it held."""

    def abandon(self) -> None:
        """In a forked child: let go of the parent's engine without touching it."""


class Opened(Protocol):
    """A session or sampler that is open at the engine."""

    id: int

    def reopen(self) -> None:
        """Open it at an engine that replaces a dead one."""


class Backend:
    """Starts its host on first need, and a new one when that has died.

    Numbers sessions, samplers, calls and requests for the engine, and completes the futures of those who
    wait. A host that replaces a dead one is told of all that was open and asked all that was unanswered.
    `generation` is the number of the host that runs or is being started, None if there is neither: what was
    opened in an earlier one must be opened again. What is asked while a host is being started waits here.
    """

    def __init__(self, start_host: Callable[[Backend], Host]) -> None:
        self.lock = threading.RLock()
        self.generation: int | None = None
        self._start_host = start_host
        self._host: Host | None = None
        self._launch: InterruptibleFuture[None] | None = None
        """The start of a host that is under way."""
        self._inherited: Host | None = None
        """In a forked child the parent's, kept since its destructors would touch what is the parent's."""
        self.new_id = itertools.count(1).__next__
        """A number no session, sampler, call or request of this backend has had."""
        self._generations = itertools.count(1)
        self._in_flight = InFlight()
        self._last_spec: RequestSpec | None = None
        """What this host was sent last."""
        self._calls: dict[int, tuple[InterruptibleFuture[Any], Message]] = {}
        self._reading: tuple[Host | None, Callable[[], asyncio.AbstractEventLoop | None]] = None, _no_loop
        """The host that a loop last began to read for, and that loop."""
        self._opened: weakref.WeakSet[Opened] = weakref.WeakSet()
        self._queue_observers: dict[int, Callable[[str, str | None], None]] = {}
        self._switch_interval = SwitchInterval()
        self._restarts = Restarts()
        self._at_exit = False
        self._death: str | None = None
        """How the last host died, until another runs."""

    @property
    def pid(self) -> int | None:
        """The process of the engine, if it has one of its own and that is running."""
        return getattr(self._host, "pid", None)

    # Sending

    def start(self) -> None:
        """Have a host. Raises `SidecarStartupError`, or `SidecarDiedError` when too many have died.

        Where an event loop is running nothing is waited for, and whoever asks something gets the error. The
        limits are those of the environment at the first start, or the first after `close`.
        """
        if self._host is None:
            if self._at_exit and threading.current_thread().daemon:
                _stop_for_good()
            with self.lock:
                if self._launch is None and self._host is None:
                    self._begin_launch()
                launch = self._launch
            if launch is not None and not runs_event_loop():
                launch.result()

    def send(self, message: Message) -> None:
        """Pass `message` on; dropped if the host is gone."""
        if (host := self._host) is not None:
            host.send(message)

    def submit(self, sample: Sample, spec: RequestSpec, future: APIFuture[Any]) -> None:
        """Send `sample`, which asks for what `spec` says, and complete `future` when it is answered.

        If the engine has too much already it is sent later; the calling thread waits for that unless it
        runs an event loop.
        """
        try:
            with self.lock:
                self._check_started()
                self._switch_interval.adjust(busy=True)
                turn = self._in_flight.add(sample, spec, future)
                if turn is None:
                    self._send_sample(sample, spec)
            if turn is not None and not runs_event_loop():
                self.wait(turn.done, None)
                turn.result()  # In case another thread does the reading.
        except BaseException:  # Ctrl-C included.
            self.cancel(sample.request)
            raise

    def call(self, message: Callable[[int], Message]) -> InterruptibleFuture[Any]:
        """Send the message made with a new call number; the future gets what the engine replies."""
        number = self.new_id()
        future: InterruptibleFuture[Any] = InterruptibleFuture()
        with self.lock:
            self._check_started()
            self._calls[number] = future, checked_message(message(number))
            self.send(self._calls[number][1])
        return future

    def wait(self, done: Callable[[], bool], timeout: float | None) -> None:
        """Lend this thread, which blocks until `done()`, to the delivery of batches; may return early."""
        if self._host is None and self._at_exit and not done():
            self.start()  # An exit handler waits for what was asked before.
        if (host := self._host) is not None:
            host.wait(done, timeout)

    def read_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Lend `loop`, the running one, to the delivery of batches."""
        host, (last_host, last_loop) = self._host, self._reading
        if host is not None and (host is not last_host or loop is not last_loop()):
            host.read_on(loop)
            self._reading = host, weakref.ref(loop)

    def cancel(self, request: int) -> None:
        """Forget a request and have the engine drop it."""
        with self.lock:
            if request in self._in_flight.futures:
                self.send(Cancel([request]))
                self._forget([request])

    def opened(self, opened: Opened) -> None:
        """`opened` is open, for as long as anybody has it. Under the lock."""
        self._opened.add(opened)

    def closed(self, opened: Opened) -> None:
        """`opened` is open no more."""
        with self.lock:
            self._opened.discard(opened)

    def observe_queue(self, sampler: int, observer: Callable[[str, str | None], None]) -> None:
        self._queue_observers[sampler] = observer

    def forget_sampler(self, sampler: int) -> None:
        self._queue_observers.pop(sampler, None)

    # Receiving, on the host's thread

    def deliver(self, batch: Batch) -> None:
        """Complete the futures that `batch` answers.

        Ctrl-C may interrupt this anywhere, and the batch then comes again: a future is forgotten only
        once it is complete, and passed over from then on.
        """
        futures = self._in_flight.futures
        with wake_together():
            for number, payload in zip(batch.done, batch.payloads, strict=True):
                future = futures.get(number)
                if future is not None:
                    future._complete(SampleResponse.from_wire(payload))
            for number, failure in batch.failed:
                _fail(futures.get(number), from_failure(failure))
            for reply in batch.replies:
                self._reply(reply)
            with self.lock:
                self._forget(batch.done)
                self._forget([number for number, _ in batch.failed])
                for reply in batch.replies:
                    self._calls.pop(reply.call, None)
        for event in batch.events:
            run_soon(partial(self._event, event))

    def died(self, host: Host, error: SidecarError) -> None:
        """The host is gone: another takes over, and if none can, whoever waits gets the error."""
        with self.lock:
            if self._host is not host:
                return
            self._host, self.generation, self._death = None, None, str(error)
            if not (self._opened or self._in_flight.futures or self._calls):
                return
            launch = InterruptibleFuture[None]()
            self.generation, self._launch = next(self._generations), launch
        self._finish_launch(launch)
        if launch.exception() is None:
            message = "%s\nAnother has taken over, with %d unanswered requests"
            run_soon(partial(logger.warning, message, error, len(self._in_flight.futures)))

    # Starting

    def _begin_launch(self) -> None:
        """Have a host started on a thread of its own, as Python interrupts only the main one. Under the lock.

        From then on whatever is asked waits for it.
        """
        if self._death is None:
            limits = Limits.from_environment()
            self._in_flight.most_requests = limits.requests
            self._in_flight.most_bytes = limits.prompt_bytes
            self._switch_interval.seconds = limits.switch_interval
        launch, generation = InterruptibleFuture[None](), next(self._generations)
        work = partial(self._finish_launch, launch)
        try:
            threading.Thread(target=work, name="tinker-sidecar-start", daemon=True).start()
        except RuntimeError as error:
            raise SidecarStartupError(f"no thread to start the sampling engine on: {error}") from error
        # Last: if Ctrl-C comes before, the thread finds that nobody wants what it would start.
        self.generation, self._launch = generation, launch

    def _finish_launch(self, launch: InterruptibleFuture[None]) -> None:
        """Start the host that `launch` stands for, and tell it all that is open and unanswered.

        Without the lock for as long as it takes, since event loops need that.
        """
        with self.lock:
            if self._launch is not launch:
                return
        try:
            host = self._start_host(self) if self._death is None else self._replacement()
        except BaseException as reason:  # noqa: BLE001 - Whoever waits must hear of it, whatever it is.
            error = reason if isinstance(reason, SidecarError) else _unexpected(reason)
            self._launch_failed(launch, error)
            return
        with self.lock:
            wanted = self._launch is launch
            if wanted:
                self._launch = None
                self._install(host)
        if not wanted:  # Closed meanwhile.
            host.close()
        launch._complete(None)

    def _replacement(self) -> Host:
        """A host in place of one that died."""
        while True:
            pause = self._restarts.pause()
            if pause is None:
                raise SidecarDiedError(
                    f"{self._death}\nNo other is started: {Restarts.MOST} have been within a minute"
                )
            time.sleep(pause)
            try:
                return self._start_host(self)
            except SidecarStartupError as error:
                self._death = str(error)

    def _launch_failed(self, launch: InterruptibleFuture[None], error: SidecarError) -> None:
        with self.lock:
            wanted = self._launch is launch
            if wanted:
                self._launch = self.generation = None
        if wanted:
            self._fail_all(error)
        _fail(launch, error)

    def _install(self, host: Host) -> None:
        """Under the lock."""
        self._host, self._last_spec = host, None
        self._death = None
        # In the order in which all of it was asked for: numbers are given in turn.
        again: list[tuple[int, Callable[[], None]]] = [(it.id, it.reopen) for it in self._opened]
        again += [(number, partial(host.send, message)) for number, (_, message) in self._calls.items()]
        for _, act in sorted(again, key=itemgetter(0)):
            act()
        for sample, spec in self._in_flight.sent():
            self._send_sample(sample, spec)

    def _check_started(self) -> None:
        if self.generation is None:
            raise SidecarDiedError(self._death or "the client was shut down meanwhile")

    def _send_sample(self, sample: Sample, spec: RequestSpec) -> None:
        if (host := self._host) is not None:
            if spec is not self._last_spec:
                host.send(spec)
                self._last_spec = spec
            host.send(sample)

    def _forget(self, requests: Iterable[int]) -> None:
        self._in_flight.remove(requests)
        while (request := self._in_flight.next_with_room()) is not None:
            self._send_sample(*request)
            self._in_flight.take(*request)  # Now, lest Ctrl-C come in between; sent twice is sent once.
        self._switch_interval.adjust(busy=bool(self._in_flight.futures))

    # Ending

    def close(self, *, at_exit: bool = False) -> None:
        """Stop the host and fail what is pending.

        At the interpreter's exit that stays pending: daemon threads, if they heard of it, would die of it
        with a traceback in the moment before Python stops them. Exit handlers that come later may ask for
        it, and have a host started anew, which ends with the process.
        """
        with self.lock:
            host, launch = self._host, self._launch
            self._host = self._launch = self.generation = self._death = None
            self._restarts = Restarts()
            self._at_exit = at_exit
            if not at_exit:
                self._opened.clear()  # What is used again is opened again.
        if host is not None:
            host.close()
        if launch is not None and at_exit:
            launch._wait(_LAUNCH_TIMEOUT)  # Its thread may have made a folder, and no process yet.
        if not at_exit:
            error = SidecarError("the client was shut down")
            _fail(launch, error)
            self._fail_all(error)

    def abandon(self) -> None:
        """In a forked child: what was sent is the parent's, and its answers go there."""
        self.lock = threading.RLock()
        self._inherited, self._host, self._launch, self.generation = self._host, None, None, None
        if self._inherited is not None:
            self._inherited.abandon()
        error = SidecarError("this request was sent before the fork: its answer goes to the parent process")
        for future in self._pending_futures():
            # Whoever held its lock or waits on it is in the parent: it is made anew, in place.
            vars(future).update(vars(InterruptibleFuture()))
            future.set_exception(error)

    def _reply(self, reply: Reply) -> None:
        future, _ = self._calls.get(reply.call, (None, None))
        if reply.failure is not None:
            _fail(future, from_failure(reply.failure))
        elif future is not None:
            future._complete(reply.data if reply.value is None else reply.value)

    def _event(self, event: Event) -> None:
        if isinstance(event, LogLine):
            logging.getLogger(event.logger).log(event.level, "%s", event.message)
        elif isinstance(event, QueueStateEvent) and (observer := self._queue_observers.get(event.sampler)):
            observer(event.state, event.reason)

    def _fail_all(self, error: SidecarError) -> None:
        with wake_together():
            for future in self._pending_futures():
                _fail(future, error)

    def _pending_futures(self) -> list[concurrent.futures.Future[Any]]:
        """The futures of all who wait, who are forgotten."""
        with self.lock:
            requests, calls = self._in_flight.clear(), list(self._calls.values())
            self._calls.clear()
            self._switch_interval.adjust(busy=False)
        return [*requests, *(future for future, _ in calls)]


def _unexpected(reason: BaseException) -> SidecarStartupError:
    error = SidecarStartupError(f"the sampling engine does not start: {reason!r}")
    error.__cause__ = reason
    return error


def _stop_for_good() -> NoReturn:
    """What a daemon thread does that would sample while the interpreter exits: it is about to be stopped."""
    while True:
        threading.Event().wait()


def _no_loop() -> None:
    return None


def _fail(future: concurrent.futures.Future[Any] | None, error: Exception) -> None:
    if future is not None:
        with contextlib.suppress(concurrent.futures.InvalidStateError):  # Cancelled in this very moment.
            future.set_exception(error)
