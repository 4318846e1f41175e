"""The future that every call returns: a real `concurrent.futures.Future` that can also be awaited."""

from __future__ import annotations

import _thread
import concurrent.futures
import contextlib
import contextvars
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import asyncio

__all__ = ["APIFuture", "Call", "InterruptibleFuture", "wake_together"]

T = TypeVar("T")

_DONE = (FINISHED, CANCELLED, CANCELLED_AND_NOTIFIED)


class Call(Protocol):
    """What a future needs of the call it stands for."""

    def wait(self, done: Callable[[], bool], timeout: float | None) -> None:
        """Help the answer along on this thread until `done()`, the timeout or an early return."""

    def read_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Help the answer along on `loop`."""

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""


class _Lock(_thread.RLock):  # type: ignore[misc]  # It is final in typeshed alone.
    """A future's lock. Entered in C, which Ctrl-C cannot tear in two as it can a `threading.Condition`:
    the main thread would keep it for ever, and with it the thread that brings the result."""

    __slots__ = ()

    def wait(self, timeout: float) -> None:
        """Returns at once: `InterruptibleFuture` has waited before it asks."""

    def notify_all(self) -> None:
        """Nobody waits on it."""


class InterruptibleFuture(concurrent.futures.Future[T]):
    """A `concurrent.futures.Future` that stays whole when Ctrl-C interrupts a thread that waits for it."""

    def __init__(self) -> None:
        # All that the base class sets, but for its condition, which takes longer to make than the rest.
        self._condition: Any = _Lock()
        self._state = PENDING
        self._result: Any = None
        self._exception = None
        self._waiters: list[Any] = []
        self._done_callbacks: list[Any] = []

    def result(self, timeout: float | None = None) -> T:
        """The outcome: blocks for at most `timeout` seconds, after which it raises `TimeoutError`."""
        if self._state not in _DONE:
            self._wait(timeout)
        if self._state == FINISHED and self._exception is None:
            return self._result  # type: ignore[no-any-return]  # As below, at a third of the price.
        return super().result(0)

    def done(self) -> bool:
        """Whether there is an outcome: a result, an error or a cancellation."""
        return self._state in _DONE  # Reading it takes no lock.

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The error, if that is the outcome; as `result`."""
        if not self.done():
            self._wait(timeout)
        return super().exception(0)

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
            self._invoke_callbacks()  # type: ignore[attr-defined]  # Typeshed leaves it out.
            self._done_callbacks = []

    def _wait(self, timeout: float | None) -> None:
        """Block until the outcome is there or `timeout` is over."""
        there = threading.Lock()
        there.acquire()
        wake = partial(_release, there)
        self.add_done_callback(wake)
        try:
            if timeout is not None:
                there.acquire(timeout=max(0.0, timeout))
            else:
                # In turns, since Python runs no handler for a Ctrl-C that comes as a wait begins.
                while not there.acquire(timeout=1.0):
                    pass
        finally:
            with self._condition:
                # A new list, since another thread may be going through the old one.
                self._done_callbacks = [other for other in self._done_callbacks if other is not wake]


def _release(lock: threading.Lock, _: object) -> None:
    with contextlib.suppress(RuntimeError):  # It has been, before a Ctrl-C.
        lock.release()


class APIFuture(InterruptibleFuture[T]):
    """The outcome of a call, for synchronous and asynchronous callers alike.

    Block on it with `result(timeout)`, await it any number of times from any running loop, or hand it
    to `concurrent.futures.wait`, `as_completed` or `asyncio.wrap_future`. Cancelling it, or the task
    that awaits it, cancels the request; a `result(timeout)` that times out does not.
    """

    call: Call | None = None
    """The call this is the outcome of."""

    def _wait(self, timeout: float | None) -> None:
        if self.call is not None:
            started = time.monotonic()
            self.call.wait(self.done, timeout)
            if timeout is not None:
                timeout -= time.monotonic() - started
        if not self.done():
            super()._wait(timeout)

    def cancel(self) -> bool:
        """Cancel the request: in the engine, and on the server where it can. False if it is done."""
        if self.done():
            return self.cancelled()
        if not super().cancel():
            return False
        # Tells `wait` and `as_completed`, which a cancelled future otherwise leaves waiting.
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            self.set_running_or_notify_cancel()
        if self.call is not None:
            self.call.cancel()
        return True

    async def result_async(self, timeout: float | None = None) -> T:
        """The result, awaited for at most `timeout` seconds; `TimeoutError` after, cancelling the request."""
        import asyncio

        async with asyncio.timeout(timeout):
            return await self

    def future(self) -> concurrent.futures.Future[T]:
        """This future, for code written for the official SDK, where it is another object."""
        return self

    async def coroutine(self) -> T:
        """This future as a coroutine, for `asyncio.create_task` and its like."""
        return await self

    def __await__(self) -> Generator[Any, None, T]:
        import asyncio  # Here and below: half of what `import tinker_client` would take.

        if self._state not in _DONE:
            loop = asyncio.get_running_loop()
            if self.call is not None:
                self.call.read_on(loop)
            waiter = _Waiter(loop)
            with self._condition:
                waits = self._state not in _DONE
                if waits:
                    self._done_callbacks.append(waiter.wake)
            if waits:
                try:
                    yield waiter
                except asyncio.CancelledError:
                    self.cancel()
                    raise
        if self._state != FINISHED:
            raise asyncio.CancelledError
        return self.result()


class _Waiter:
    """What a task waits on, with the interface that tasks expect of a future.

    A real one resumes its task in the next round of the loop, and each round gives up the GIL. This
    resumes it right here, in the callback that brings the result.
    """

    __slots__ = ("_asyncio_future_blocking", "_callback", "_cancelled", "_context", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asyncio_future_blocking = True  # It is yielded, and to be waited for.
        self._loop = loop
        self._callback: Callable[[_Waiter], object] | None = None
        self._context: contextvars.Context | None = None
        self._cancelled = False

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def add_done_callback(
        self, callback: Callable[[_Waiter], object], *, context: contextvars.Context | None = None
    ) -> None:
        self._callback, self._context = callback, context

    def cancel(self, msg: object = None) -> bool:
        """The task is cancelled; it hears of it in the next round, like everybody."""
        if self._callback is None or self._cancelled:
            return False
        self._cancelled = True
        self._loop.call_soon(self.resume)
        return True

    def result(self) -> None:
        if self._cancelled:
            import asyncio

            raise asyncio.CancelledError

    def resume(self) -> None:
        """Take the task on from where it waits, on its own loop."""
        callback, self._callback = self._callback, None
        if callback is not None:
            # An empty context is false, too.
            context = contextvars.copy_context() if self._context is None else self._context
            context.run(callback, self)

    def wake(self, _: object) -> None:
        """Have the task resumed, from any thread."""
        waiting: _Waiting | None = getattr(_gathering, "waiting", None)
        if waiting is not None:
            waiting[self._loop].append(self)
        else:
            _wake(self._loop, deque([self]))


_gathering = threading.local()

_Waiting = dict["asyncio.AbstractEventLoop", deque[_Waiter]]


@contextlib.contextmanager
def wake_together() -> Iterator[None]:
    """Resolve any number of futures within, and each event loop is woken once for all of its own.

    Every wake-up of a loop writes to its self-pipe, which gives up the GIL. Within another
    `wake_together` they are woken at the end of that.
    """
    if getattr(_gathering, "waiting", None) is not None:
        yield
        return
    waiting: _Waiting = defaultdict(deque)
    _gathering.waiting = waiting
    try:
        yield
    finally:
        _gathering.waiting = None
        for loop, waiters in waiting.items():
            _wake(loop, waiters)


def _wake(loop: asyncio.AbstractEventLoop, waiters: deque[_Waiter]) -> None:
    import asyncio

    if asyncio._get_running_loop() is not loop:
        with contextlib.suppress(RuntimeError):  # The loop is closed, and whoever waited on it gone.
            loop.call_soon_threadsafe(_resume, loop, waiters)
    elif asyncio.current_task(loop) is None:
        _resume(loop, waiters)
    else:
        loop.call_soon(_resume, loop, waiters)  # Tasks do not nest.


def _resume(loop: asyncio.AbstractEventLoop, waiters: deque[_Waiter]) -> None:
    try:
        while waiters:
            waiters.popleft().resume()
    finally:
        if waiters:  # A task let Ctrl-C through.
            loop.call_soon(_resume, loop, waiters)
