"""The future that every call returns: a real `concurrent.futures.Future` that can also be awaited."""

from __future__ import annotations

import _thread
import concurrent.futures
import contextlib
import contextvars
import sys
import threading
import types
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tinker_client.callbacks import run_soon
from tinker_client.trio_loop import in_trio, wait_in_trio
from tinker_client.waking import Waiter

if TYPE_CHECKING:
    import asyncio

__all__ = ["APIFuture", "InterruptibleFuture", "PendingWork", "awaited", "fail", "within"]

T = TypeVar("T")

_DONE = (FINISHED, CANCELLED, CANCELLED_AND_NOTIFIED)

_TURN = 1.0
"""Seconds. Waits come in turns, since Python runs no handler for a Ctrl-C that comes as a wait begins, and
since whoever reads results for all may be held up in a signal handler: then another has to."""


class PendingWork(Protocol):
    """What a future needs of the call it stands for."""

    @property
    def submitted_at(self) -> float:
        """When the call was made, by `time.monotonic`."""

    def request_id(self) -> str | None:
        """What the server calls the request, if it has taken it and the engine answers."""

    def describe(self) -> str:
        """What is asked and since when, for an error that says that it takes too long."""

    def wait(self, done: Callable[[], bool], timeout: float | None) -> None:
        """Help the answer along on this thread until `done()`, the timeout or an early return."""

    def read_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Help the answer along on `loop`."""

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""


class _Lock(_thread.RLock):  # type: ignore[misc]  # It is final in typeshed alone.
    """A future's lock, in place of its `threading.Condition`.

    `Condition.__enter__` is a Python function, which Ctrl-C may end when it has taken the lock and not yet
    returned: the main thread would then keep it for ever, and the thread that brings results would wait for
    it. An `RLock` is entered in C in one step. Relies on what `concurrent.futures` of CPython 3.11 to 3.14
    asks of a condition; tests/client/test_futures.py and tests/sidecar/test_interrupts.py fail if that grows.
    """

    __slots__ = ()

    def wait(self, timeout: float) -> None:
        """Returns at once: `InterruptibleFuture` has waited before it asks."""

    def notify_all(self) -> None:
        """Nobody waits on it."""


class InterruptibleFuture(concurrent.futures.Future[T]):
    """A `concurrent.futures.Future` that stays whole when Ctrl-C interrupts a thread that waits for it.

    Callbacks run on a thread of their own (`tinker_client.callbacks`), each in the context in which it was
    added, unless the future is done already.
    """

    work: PendingWork | None = None
    """The call this is the outcome of, if whoever waits can help it along."""

    def __init__(self) -> None:
        # All that the base class sets, with `_Lock` for its condition, which takes longest to make.
        # tests/client/test_futures.py compares it with what the Python that runs sets.
        self._condition: Any = _Lock()
        self._state = PENDING
        self._result: Any = None
        self._exception = None
        self._waiters: list[Any] = []
        self._done_callbacks: list[Any] = []

    def result(self, timeout: float | None = None) -> T:
        """The outcome.

        Parameters
        ----------
        timeout
            Seconds to block for. None: until the outcome is there.

        Raises
        ------
        TimeoutError
            It is not there within `timeout` seconds. The message says what is waited for, and since when.
        CancelledError
            The future was cancelled.
        Exception
            The error, if that is the outcome.
        """
        if self._state not in _DONE:
            self._wait(timeout)
        if self._state == FINISHED and self._exception is None:
            return self._result  # type: ignore[no-any-return]  # `super().result(0)` does the same in three times the time.
        self._check_done(timeout)
        try:
            return super().result(0)
        finally:
            del self  # See `_watch`.

    def done(self) -> bool:
        """Whether there is an outcome: a result, an error or a cancellation."""
        return self._state in _DONE  # Reading it takes no lock.

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The error, if that is the outcome; None if it is a result. Waits for `timeout` as `result` does."""
        if not self.done():
            self._wait(timeout)
        self._check_done(timeout)
        return super().exception(0)

    def add_done_callback(self, fn: Callable[[concurrent.futures.Future[T]], object]) -> None:
        """Have `fn(future)` called once the future is done: at once, if it is."""
        super().add_done_callback(_Callback(fn, contextvars.copy_context()))

    def _complete(self, result: T) -> None:
        """`set_result`, unless there is an outcome; after Ctrl-C tore it, call it again."""
        with self._condition:
            if self._state not in _DONE:
                self._result = result
                for waiter in self._waiters:
                    waiter.add_result(self)
                self._state = FINISHED
            elif self._state != FINISHED:
                return
        if self._done_callbacks:
            self._invoke_callbacks()

    def _fail_in_child(self, error: BaseException) -> None:
        """In a forked child: who held the lock or waits is in the parent, so all of it is made anew."""
        InterruptibleFuture.__init__(self)
        self.set_exception(error)

    def _invoke_callbacks(self) -> None:
        """Wake who waits and have users' callbacks called; after Ctrl-C tore it, call it again."""
        for callback in self._done_callbacks:
            if type(callback) is _Callback:
                run_soon(partial(callback.call_once, self))
            else:
                callback(self)
        self._done_callbacks = []

    def _wait(self, timeout: float | None) -> None:
        """Block until the outcome is there or `timeout` is over."""
        deadline = None if timeout is None else monotonic() + timeout
        if self.work is not None:
            self.work.wait(self.done, timeout)
        there = threading.Lock()
        there.acquire()
        wake = partial(_release, there)
        if not self._wake_when_done(wake):
            return
        try:
            left = timeout
            while left is None or left > 0:
                if there.acquire(timeout=_TURN if left is None else min(_TURN, left)):
                    return
                left = None if deadline is None else deadline - monotonic()
                if self.work is not None:
                    self.work.wait(self.done, left)
        finally:
            with self._condition:
                # A new list, since another thread may be going through the old one.
                self._done_callbacks = [other for other in self._done_callbacks if other is not wake]

    def _wake_when_done(self, wake: Callable[[Any], object]) -> bool:
        """Have `wake(self)` called by whoever completes this. False: there is an outcome already."""
        with self._condition:
            if self._state in _DONE:
                return False
            self._done_callbacks.append(wake)
            return True

    def _check_done(self, timeout: float | None) -> None:
        if self._state not in _DONE:
            raise TimeoutError(self._describe_delay(timeout))

    def _describe_delay(self, timeout: float | None) -> str:
        what = "" if self.work is None else f": {self.work.describe()}"
        return f"no outcome within {timeout:g} s{what}"

    def _watch(self) -> Generator[Any, None, T]:
        """The outcome, waited for in a task.

        An error's traceback keeps the variables of the frames that it has passed, and this future keeps the
        error. So that it does not need the garbage collector, no frame has the future in the end.
        """
        try:
            if not self.done():
                yield from self._until_done()
            return self.result()
        finally:
            del self

    def _until_done(self) -> Generator[Any, None, None]:
        """Wait in a task, of asyncio or trio, without holding up its event loop."""
        if in_trio():
            yield from wait_in_trio(self._wake_when_done)
            return
        import asyncio  # Late, here and below: it would double the time of `import tinker_client`.

        loop = asyncio.get_running_loop()
        if self.work is not None:
            self.work.read_on(loop)
        waiter = Waiter(loop)
        if self._wake_when_done(waiter.wake):
            yield waiter


class _Callback:
    """A user's callback and its context."""

    __slots__ = ("_called", "_context", "_function")

    def __init__(self, function: Callable[[Any], object], context: contextvars.Context) -> None:
        self._function = function
        self._context = context
        self._called = False

    def __call__(self, future: object) -> None:
        self._context.run(self._function, future)

    def call_once(self, future: object) -> None:
        """On the callbacks' thread, also when Ctrl-C has had it put there twice."""
        if not self._called:
            self._called = True
            self(future)

    def __repr__(self) -> str:
        return repr(self._function)


def fail(future: concurrent.futures.Future[Any] | None, error: Exception) -> None:
    """Have `future`, if there is one, raise `error`, unless it is done."""
    if future is not None:
        with contextlib.suppress(concurrent.futures.InvalidStateError):  # Cancelled in this very moment.
            future.set_exception(error)


def _release(lock: threading.Lock, _: object) -> None:
    with contextlib.suppress(RuntimeError):  # It was released already, before a Ctrl-C had this called again.
        lock.release()


@types.coroutine
def awaited(future: InterruptibleFuture[T]) -> Generator[Any, None, T]:
    """What `await` gives, but to give up here does not cancel `future`, which others wait for, too."""
    watching = future._watch()
    del future
    return (yield from watching)


async def within(
    timeout: float | None, work: Awaitable[T], describe_delay: Callable[[float | None], str]
) -> T:
    """What comes of `work`, which is cancelled after `timeout` seconds: then a `TimeoutError` says why."""
    try:
        if timeout is None:
            return await work
        if in_trio():
            import trio

            with trio.move_on_after(timeout):
                return await work
        else:
            import asyncio

            try:
                async with asyncio.timeout(timeout) as scope:
                    return await work
            except TimeoutError:
                if not scope.expired():
                    raise  # It is what `work` itself raised.
        late = TimeoutError(describe_delay(timeout))
    finally:
        del work, describe_delay  # See `InterruptibleFuture._watch`.
    raise late


class APIFuture(InterruptibleFuture[T]):
    """The outcome of a call, for synchronous and asynchronous callers alike.

    Block on it with `result(timeout)`, await it any number of times from any running event loop, asyncio's
    or trio's, or hand it to `concurrent.futures.wait`, `as_completed` or `asyncio.wrap_future`. Cancelling
    it, or the task that awaits it, cancels the request; a `result(timeout)` that times out does not.
    """

    _request_id: str | None = None

    @property
    def submitted_at(self) -> float | None:
        """When the call was made, in seconds by `time.monotonic`; None for a future without a request."""
        return None if self.work is None else self.work.submitted_at

    @property
    def request_id(self) -> str | None:
        """What the server calls the request: what to name to its people when something is wrong.

        None while the server has not taken it yet. While the request is under way the engine is asked,
        which takes as long as a round trip to the sidecar.
        """
        if self._request_id:
            return self._request_id
        if self.done():
            error = None if self.cancelled() else self.exception()
            return getattr(error, "request_id", None)
        return None if self.work is None else self.work.request_id()

    def cancel(self) -> bool:
        """Cancel the request: in the engine, and on the server where it can. False if it is done."""
        if self.done():
            return self.cancelled()
        if not super().cancel():
            return False
        # Tells `wait` and `as_completed`, which a cancelled future otherwise leaves waiting.
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            self.set_running_or_notify_cancel()
        if self.work is not None:
            self.work.cancel()
        return True

    async def result_async(self, timeout: float | None = None) -> T:
        """The result, awaited for at most `timeout` seconds; `TimeoutError` after, cancelling the request."""
        try:
            return await within(timeout, self, self._describe_delay)
        finally:
            del self

    def future(self) -> concurrent.futures.Future[T]:
        """This future, for code written for the official SDK, where it is another object."""
        return self

    async def coroutine(self) -> T:
        """This future as a coroutine, for `asyncio.create_task` and its like."""
        try:
            return await self
        finally:
            del self

    def __await__(self) -> Generator[Any, None, T]:
        if self._state not in _DONE:
            try:
                yield from self._until_done()
            except _cancellations():
                self.cancel()
                raise
        if self._state != FINISHED:
            import asyncio

            raise asyncio.CancelledError
        try:
            return self.result()
        finally:
            del self


def _cancellations() -> tuple[type[BaseException], ...]:
    """What is raised in a task, of asyncio or trio, that is cancelled."""
    import asyncio

    trio = sys.modules.get("trio")
    return (asyncio.CancelledError,) if trio is None else (asyncio.CancelledError, trio.Cancelled)
