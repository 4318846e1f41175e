"""The client's side of an engine, wherever it runs: who waits for what, and what is open there."""

from __future__ import annotations

import contextlib
import itertools
import logging
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from operator import itemgetter
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from tinker_client.callbacks import run_soon
from tinker_client.config import SHARED, Limits, SubprocessSampling, switch
from tinker_client.connection.calls import Calls
from tinker_client.connection.clone_numbers import forget_recycled
from tinker_client.connection.events import Events
from tinker_client.connection.hosting import Host, Hosted
from tinker_client.connection.in_flight import InFlight
from tinker_client.connection.sendable import checked_message
from tinker_client.connection.switch_interval import SwitchInterval
from tinker_client.errors import SidecarError, SidecarStartupError, from_failure
from tinker_client.futures import APIFuture, InterruptibleFuture, fail
from tinker_client.running_loop import runs_event_loop
from tinker_client.types import SampleResponse
from tinker_client.waking import wake_together, when_resumed
from tinker_client.watching import read_watching
from tinker_sidecar.ipc.protocol import Batch, Cancel, Message, RequestSpec, Sample, Taken
from tinker_sidecar.ipc.watching import Watching

if TYPE_CHECKING:
    import asyncio

__all__ = ["Backend"]

logger = logging.getLogger(__name__)

_WARN_EVERY = 60.0
UNUSED = 20.0
"""Seconds without anything open after which an engine ends."""


class Opened(Protocol):
    """A session or sampler that is open at the engine."""

    id: int

    @property
    def has_failed(self) -> bool:
        """Whether the engine has said that it cannot be opened."""

    def reopen(self) -> None:
        """Open it at an engine that replaces a dead one."""


class Backend(Hosted):
    """Numbers sessions, samplers, calls and requests for the engine, and completes who waits for them.

    A host that replaces a dead one is told of all that was open and asked all that was unanswered.
    """

    def __init__(self, start_host: Callable[[Backend], Host], *, where: SubprocessSampling) -> None:
        super().__init__(partial(start_host, self))
        self.where = where
        """Where its engine is to be."""
        self.has_fallen_back = False
        """Whether it has a sidecar of its own, since there can be none that is shared."""
        self.new_id = itertools.count(1).__next__
        """A number that no session, sampler, call or request of this backend has had."""
        self.events = Events()
        self._in_flight = InFlight()
        self._calls = Calls()
        self._last_spec: int | None = None
        """The id of what this host was sent last."""
        self._events_of = 0
        """The batch whose events were passed on last: a batch that comes again has them once more."""
        self._warned_at = float("-inf")
        self._full_since: float | None = None
        """Since when there has been no room, if somebody has been told."""
        self._opened: weakref.WeakSet[Opened] = weakref.WeakSet()
        self._unsent: deque[Message] = deque()
        """What a host that is being started must hear, besides what `_tell` finds out."""
        self.used_at = monotonic()
        """When the host was started or last seen in use; for ever, if it was started for later use."""
        self._reading: tuple[Host | None, Callable[[], asyncio.AbstractEventLoop | None]] = None, _no_loop
        """The host that a loop last began to read for, and that loop."""
        self._switch_interval = SwitchInterval()
        self.watching = Watching()
        """What the user wants to see of the engine."""

    @property
    def is_sidecar(self) -> bool:
        """Whether its engine is in another process."""
        return bool(self.where)

    @property
    def is_shared(self) -> bool:
        """Whether other programs have their engines in that process, too."""
        return self.where == SHARED and not self.has_fallen_back

    # Sending

    def send(self, message: Message) -> None:
        """Pass `message` on, to a host that is being started once it runs; dropped if there is none.

        Without the lock: the garbage collector may call this, wherever its thread is.
        """
        if (host := self._host) is not None:
            host.send(message)
        elif self.generation is not None:
            self._unsent.append(message)
            if (host := self._host) is not None:  # It may have been told the others just before.
                self._send_unsent(host)

    def _send_now(self, message: Message) -> None:
        """Pass on what `_tell` tells a host that is being started, if it still needs that."""
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
                else:
                    self._warn_of_full_books()
            if turn is not None and not runs_event_loop():
                self.wait(turn.done, None)
                turn.result()  # `wait` returns early when another thread reads the socket.
        except BaseException:  # `KeyboardInterrupt`, too: nobody has the future that the request is for.
            self.cancel(sample.request)
            raise

    def _warn_of_full_books(self) -> None:
        now = monotonic()
        if now - self._warned_at > _WARN_EVERY:
            self._warned_at = now
            self._full_since = self._full_since or now
            message = (
                "%d requests are in flight, as many as may be: sample() waits for results, or keeps what is "
                "asked on an event loop (TINKER_SIDECAR_MAX_REQUESTS, TINKER_SIDECAR_MAX_PROMPT_BYTES)"
            )
            run_soon(partial(logger.warning, message, self.unanswered - self.held_back))

    def call(self, message: Callable[[int], Message]) -> InterruptibleFuture[Any]:
        """Send the message made with a new call number; the future gets what the engine replies."""
        number = self.new_id()
        checked = checked_message(message(number))
        with self.lock:
            self._check_started()
            future = self._calls.add(number, checked)
            self._send_now(checked)
        return future

    def cancel(self, request: int) -> None:
        """Forget a request and have the engine drop it."""
        with self.lock:
            if request in self._in_flight.futures:
                self._send_now(Cancel([request]))
                self._forget([request])

    def opened(self, opened: Opened) -> None:
        """`opened` is open, for as long as anybody has it. Under the lock."""
        self._opened.add(opened)
        self.used_at = monotonic()

    def closed(self, opened: Opened) -> None:
        """`opened` is open no more."""
        with self.lock:
            self._opened.discard(opened)

    # Waiting

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

    # Receiving, by whoever reads the socket or, in process, on the engine's thread

    def deliver(self, batch: Batch) -> bool:
        """Complete the futures that `batch` answers. Returns whether tasks await them that have yet to go on.

        Ctrl-C may interrupt this anywhere, and the batch then comes again: a future is forgotten only
        once it is complete, and passed over from then on.
        """
        futures = self._in_flight.futures
        with wake_together():
            for number, payload, request_id in zip(
                batch.done, batch.payloads, batch.request_ids, strict=True
            ):
                future = futures.get(number)
                if future is not None:
                    future._request_id = request_id
                    future._complete(SampleResponse.from_wire(payload))
            for number, failure in batch.failed:
                fail(futures.get(number), from_failure(failure))
            for reply in batch.replies:
                self._calls.complete(reply)
            with self.lock:
                self._forget(batch.done)
                self._forget([number for number, _ in batch.failed])
                self._calls.remove(batch.replies)
            is_awaited = when_resumed(partial(self._taken, self._host, batch.number))
        if batch.number != self._events_of:
            self.events.pass_on(batch.events)
            self._events_of = batch.number
        return is_awaited

    def _taken(self, host: Host | None, batch: int) -> None:
        """The tasks that awaited what was in `batch` have gone on."""
        if host is not None and host is self._host:
            host.note(Taken(batch, monotonic()))

    def _forget(self, requests: Iterable[int]) -> None:
        self._in_flight.remove(requests)
        while (request := self._in_flight.next_with_room()) is not None:
            self._send_sample(*request)
            # After the sending: if Ctrl-C comes in between, it is sent again, and the engine ignores that.
            self._in_flight.take(*request)
        if self._full_since is not None and not self._in_flight.held_back:
            seconds, self._full_since = monotonic() - self._full_since, None
            run_soon(partial(logger.warning, "sample() waits no more, after %.0f s", seconds))
        self._switch_interval.adjust(busy=bool(self._in_flight.futures))

    def _send_sample(self, sample: Sample, spec: RequestSpec) -> None:
        if (host := self._host) is not None:
            if spec.id != self._last_spec:
                host.send(spec)
                self._last_spec = spec.id
            host.send(sample)

    # With each host, and without one

    def _read_limits(self) -> None:
        self._warned_at = float("-inf")
        self.used_at = monotonic()
        self.watching = read_watching()
        if self.watching.log_level is not None:
            logging.getLogger("tinker_sidecar").setLevel(self.watching.log_level)
        limits = Limits.from_environment()
        self._in_flight.most_requests = limits.requests
        self._in_flight.most_bytes = limits.prompt_bytes
        self._switch_interval.seconds = limits.switch_interval

    def fall_back(self, reason: str) -> None:
        """There can be no shared sidecar. Raises `SidecarStartupError` if the user wants no other."""
        error = f"there can be no shared sidecar: {reason}"
        if switch("TINKER_SIDECAR_REQUIRE"):
            raise SidecarStartupError(error)
        self.has_fallen_back = True
        forget_recycled()
        run_soon(partial(logger.warning, "%s. This process has one of its own instead", error))

    def _take_another_way(self, reason: str) -> bool:
        if self.where != SHARED or self.has_fallen_back:
            return False
        self.fall_back(reason)
        return True

    def _is_in_use(self) -> bool:
        return bool(self._calls) or self._has_work()

    def _has_work(self) -> bool:
        """Under the lock, as others open things."""
        return bool(self._in_flight.futures) or not all(it.has_failed for it in self._opened)

    def is_unused(self) -> bool:
        """Whether nothing has been open or unanswered for a while.

        A host that shows itself or writes things down is always in use, and so is one that was started for
        later use, until it was.
        """
        watching, now = self.watching, monotonic()
        with self.lock:
            if watching.metrics or watching.trace or watching.record or self._has_work():
                self.used_at = now
        return now - self.used_at > UNUSED

    def stay_until_used(self) -> None:
        """The host was started for later use."""
        self.used_at = float("inf")

    @property
    def unanswered(self) -> int:
        """How many requests have no answer."""
        return len(self._in_flight.futures)

    @property
    def held_back(self) -> int:
        """Requests that the engine has not been sent, since it has as many as it may have."""
        return self._in_flight.held_back

    def _forget_opened(self) -> None:
        self._opened.clear()
        self.has_fallen_back = False

    def _tell(self, host: Host) -> None:
        self._last_spec = None
        self._events_of = 0
        # Ids are given in turn, so in their order things are asked for as they were at first, a session
        # before its samplers.
        again: list[tuple[int, Callable[[], None]]] = [(it.id, it.reopen) for it in self._opened]
        again += [(number, partial(host.send, message)) for number, message in self._calls.messages()]
        for _, act in sorted(again, key=itemgetter(0)):
            act()
        for sample, spec in self._in_flight.sent():
            self._send_sample(sample, spec)
        self._send_unsent(host)

    def _send_unsent(self, host: Host) -> None:
        with contextlib.suppress(IndexError):
            while True:
                host.send(self._unsent.popleft())

    def abandon(self) -> None:
        """In a forked child: what was sent is the parent's, and its answers go there."""
        super().abandon()
        error = SidecarError("this request was sent before the fork: its answer goes to the parent process")
        for future in self._forget_all():
            future._fail_in_child(error)

    def _fail_all(self, error: SidecarError) -> None:
        with wake_together():
            for future in self._forget_all():
                fail(future, error)

    def _forget_all(self) -> list[InterruptibleFuture[Any]]:
        """The futures of all who wait, who are forgotten."""
        with self.lock:
            futures = [*self._in_flight.clear(), *self._calls.clear()]
            self._unsent.clear()
            self._switch_interval.adjust(busy=False)
        return futures


def _no_loop() -> None:
    return None
