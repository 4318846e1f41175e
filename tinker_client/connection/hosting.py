"""Which host an engine has: it is started on first need, replaced when it dies, and closed in the end."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NoReturn, Protocol

from tinker_client.callbacks import run_soon
from tinker_client.connection.restarts import Restarts
from tinker_client.errors import SidecarDiedError, SidecarError, SidecarStartupError
from tinker_client.futures import InterruptibleFuture, fail
from tinker_client.running_loop import runs_event_loop
from tinker_sidecar.ipc.protocol import Message

if TYPE_CHECKING:
    import asyncio

    from tinker_sidecar.ipc.stats import Traffic

__all__ = ["Host", "Hosted"]

logger = logging.getLogger(__name__)

_LAUNCH_TIMEOUT = 2.0


class Host(Protocol):
    """Runs an engine for a backend, which it hands each batch by `Backend.deliver`."""

    def send(self, message: Message) -> None:
        """Pass `message` to the engine, from any thread, without blocking."""

    def note(self, message: Message) -> None:
        """Pass on what is in no hurry."""

    def wait(self, done: Callable[[], bool], timeout: float | None) -> None:
        """Lend this thread, which blocks until `done()`, to the delivery of batches; may return early."""

    def read_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Lend `loop`, the running one, to the delivery of batches."""

    def close(self) -> None:
        """Stop the engine and free what it held."""

    def abandon(self) -> None:
        """In a forked child: let go of the parent's engine without touching it."""


class Hosted:
    """What a backend is besides a place to send requests to: something that has a host.

    `generation` is the number of the host that runs or is being started, None if there is neither: what was
    opened in an earlier one must be opened again. What is asked while a host is being started waits for it.
    """

    def __init__(self, start_host: Callable[[], Host]) -> None:
        self.lock = threading.RLock()
        self.generation: int | None = None
        self._generations = itertools.count(1)
        self._start_host = start_host
        self._host: Host | None = None
        self._launch: InterruptibleFuture[None] | None = None
        """The start of a host that is under way."""
        self._stillborn: tuple[Host, SidecarError] | None = None
        """A host that has died before that start had come to its end, and how."""
        self._inherited: list[Host] = []
        """In a forked child the parent's, kept since its destructors would touch what is the parent's."""
        self._restarts = Restarts()
        self.restarts = 0
        """How often a host that died has been replaced."""
        self._at_exit = False
        self._death: str | None = None
        """How the last host died, until another runs."""
        self.past: Traffic | None = None
        """What went through hosts that have ended for want of use."""
        self._has_retired = False
        """Whether the last host has ended so, and no other is started."""
        self._leaving: Host | None = None
        """The host that is just ending so."""

    @property
    def pid(self) -> int | None:
        """The process of the engine, if it has one of its own and that is running."""
        return getattr(self._host, "pid", None)

    @property
    def is_running(self) -> bool:
        """Whether there is an engine."""
        return self._host is not None

    @property
    def is_starting(self) -> bool:
        """Whether there will be an engine in a moment: the first, or in place of one that died."""
        return self._host is None and self.generation is not None

    # What a backend adds

    def _read_limits(self) -> None:
        """A first host is about to be started. Under the lock. Raises `TinkerError`."""
        raise NotImplementedError

    def _take_another_way(self, reason: str) -> bool:
        """Too many hosts have died: whether the next one will be of another kind."""
        raise NotImplementedError

    def _is_in_use(self) -> bool:
        """Whether anything is open or unanswered, so that a host that died must be replaced."""
        raise NotImplementedError

    @property
    def unanswered(self) -> int:
        """How many requests have no answer."""
        raise NotImplementedError

    def _forget_opened(self) -> None:
        """Nothing is open any more; what is used again is opened again. Under the lock."""
        raise NotImplementedError

    def _tell(self, host: Host) -> None:
        """Tell `host`, which is new, all that is open and unanswered. Under the lock."""
        raise NotImplementedError

    def _fail_all(self, error: SidecarError) -> None:
        """Fail all who wait."""
        raise NotImplementedError

    # Starting

    def start(self) -> None:
        """Have a host. Raises `SidecarStartupError`, or `SidecarDiedError` when too many have died.

        Where an event loop is running nothing is waited for, and whoever asks something gets the error. The
        limits are those of the environment at this start, unless another host has died before it.
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

    def start_again(self) -> None:
        """Have a host if it has ended for want of use since `start`. Under the lock."""
        if self._has_retired:
            self._begin_launch()

    def died(self, host: Host, error: SidecarError) -> None:
        """The host is gone: another takes over, and if none can, whoever waits gets the error."""
        with self.lock:
            if self.ended(host):
                return
            if self._host is not host:
                if self._launch is not None:
                    self._stillborn = host, error
                return
            self._host, self.generation, self._death = None, None, str(error)
            if not self._is_in_use():
                return
            launch = InterruptibleFuture[None]()
            self.generation, self._launch = next(self._generations), launch
        self._finish_launch(launch)
        if launch.exception() is None:
            self.restarts += 1
            message = "%s. Another has taken over, with %d unanswered requests"
            run_soon(partial(logger.warning, message, error, self.unanswered))

    def _begin_launch(self) -> None:
        """Have a host started on a thread of its own, as Python interrupts only the main one. Under the lock.

        From then on whatever is asked waits for it.
        """
        if self._death is None:
            self._read_limits()
        launch, generation = InterruptibleFuture[None](), next(self._generations)
        work = partial(self._finish_launch, launch)
        try:
            threading.Thread(target=work, name="tinker-sidecar-start", daemon=True).start()
        except RuntimeError as error:
            raise SidecarStartupError(f"no thread to start the sampling engine on: {error}") from error
        # Last, so that Ctrl-C before it leaves things as they were: the thread then finds that `_launch` is
        # not the start that it stands for, and ends.
        self.generation, self._launch = generation, launch
        self._has_retired = False

    def _finish_launch(self, launch: InterruptibleFuture[None]) -> None:
        """Start the host that `launch` stands for, and tell it all that is open and unanswered.

        Without the lock for as long as it takes, since event loops need that.
        """
        with self.lock:
            if self._launch is not launch:
                return
        try:
            host = self._start_host() if self._death is None else self._replacement()
        except BaseException as reason:  # noqa: BLE001 - Whoever waits must hear of it, whatever it is.
            self._launch_failed(launch, reason if isinstance(reason, SidecarError) else _unexpected(reason))
            return
        with self.lock:
            wanted, early_death = self._launch is launch, self._early_death(host)
            if wanted and early_death is not None:
                self._death = early_death
            elif wanted:
                self._host, self._launch, self._death = host, None, None
                self._tell(host)
        if wanted and early_death is not None:
            self._finish_launch(launch)
            return
        if not wanted:  # `close` was called meanwhile.
            host.close()
        launch._complete(None)

    def _early_death(self, host: Host) -> str | None:
        """How `host`, which has just been started, has died already; None: it lives. Under the lock."""
        stillborn, self._stillborn = self._stillborn, None
        return str(stillborn[1]) if stillborn is not None and stillborn[0] is host else None

    def _replacement(self) -> Host:
        """A host in place of one that died."""
        while True:
            pause = self._restarts.count_one()
            if pause is None and self._take_another_way(f"{Restarts.MOST} have died within a minute"):
                self._restarts, pause = Restarts(), 0.0
            if pause is None:
                raise SidecarDiedError(
                    f"{self._death}\nNo other is started: {Restarts.MOST} have been within a minute"
                )
            time.sleep(pause)
            try:
                return self._start_host()
            except SidecarStartupError as error:
                self._death = str(error)

    def _launch_failed(self, launch: InterruptibleFuture[None], error: SidecarError) -> None:
        with self.lock:
            wanted = self._launch is launch
            if wanted:
                self._launch = self.generation = None
        if wanted:
            self._fail_all(error)
        fail(launch, error)

    def _check_started(self) -> None:
        if self.generation is None:
            raise SidecarDiedError(self._death or "the client was shut down meanwhile")

    # Ending

    def retire(self, host: Host, traffic: Traffic) -> bool:
        """Let go of `host` unless it is needed; `traffic` went through it. The next use starts another."""
        with self.lock:
            if self._host is not host or self._is_in_use():
                return False
            self._leaving = host
            self._host = self.generation = None
            self.past = traffic if self.past is None else self.past + traffic
            self._has_retired = True
            return True

    def ended(self, host: Host) -> bool:
        """The host has ended. Returns whether that was for want of use."""
        with self.lock:
            wanted = self._leaving is host
            if wanted:
                self._leaving = None
        return wanted

    def close(self, *, at_exit: bool = False) -> None:
        """Stop the host and fail what is pending.

        At the interpreter's exit that stays pending: daemon threads, if they heard of it, would die of it
        with a traceback in the moment before Python stops them. Exit handlers that come later may ask for
        it, and have a host started anew, which ends with the process.
        """
        with self.lock:
            host, leaving, launch = self._host, self._leaving, self._launch
            self._host = self._launch = self.generation = self._death = self.past = None
            self._has_retired = False
            self._restarts = Restarts()
            self._at_exit = at_exit
            if not at_exit:
                self._forget_opened()
        for one in (host, leaving):
            if one is not None:
                one.close()
        if at_exit:
            if launch is not None:
                launch._wait(_LAUNCH_TIMEOUT)  # Its thread may have made a folder, and no process yet.
            return
        error = SidecarError("the client was shut down")
        fail(launch, error)
        self._fail_all(error)

    def abandon(self) -> None:
        """In a forked child: the host is the parent's."""
        self.lock = threading.RLock()
        self._inherited = [host for host in (self._host, self._leaving) if host is not None]
        self._host = self._leaving = self._launch = self.generation = None
        for host in self._inherited:
            host.abandon()


def _unexpected(reason: BaseException) -> SidecarStartupError:
    error = SidecarStartupError(f"the sampling engine does not start: {reason!r}")
    error.__cause__ = reason
    return error


def _stop_for_good() -> NoReturn:
    """What a daemon thread does that would sample while the interpreter exits: it is about to be stopped."""
    while True:
        threading.Event().wait()
