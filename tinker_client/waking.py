"""Resuming the tasks that wait for futures: at once, and every loop's together."""

from __future__ import annotations

import contextlib
import contextvars
import os
import threading
import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

__all__ = ["Waiter", "release_stopped_loops", "wake_together", "when_resumed"]

_REENTRY = 0.001
"""Seconds, the shortest time that uvloop's timers know."""


class Waiter:
    """What a task waits on, with the interface that tasks expect of a future.

    A real one resumes its task in the next round of the loop, and each round gives up the GIL. This
    resumes it right here, in the callback that brings the result. Relies on how the tasks of CPython 3.11 to
    3.13 wait for what is no `asyncio.Future`; tests/client/test_event_loops.py fails where that is different.
    """

    __slots__ = ("_asyncio_future_blocking", "_callback", "_cancelled", "_context", "_loop", "_message")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # A task looks at this to see that what was yielded is to be waited for.
        self._asyncio_future_blocking = True
        self._loop = loop
        self._callback: Callable[[Waiter], object] | None = None
        self._context: contextvars.Context | None = None
        self._cancelled = False
        self._message: Any = None

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the task."""
        return self._loop

    def add_done_callback(
        self, callback: Callable[[Waiter], object], *, context: contextvars.Context | None = None
    ) -> None:
        """Called by the task: `callback` takes it on."""
        self._callback, self._context = callback, context

    def cancel(self, msg: Any = None) -> bool:
        """The task is cancelled; it hears of it, and of `msg`, in the next round, like everybody."""
        if self._callback is None or self._cancelled:
            return False
        self._cancelled, self._message = True, msg
        self._loop.call_soon(self.resume)
        return True

    def done(self) -> bool:
        """Whether the task goes on, or is about to; anyio asks."""
        return self._cancelled or self._callback is None

    def result(self) -> None:
        """Nothing, or the cancellation: the task looks for the outcome itself."""
        if self._cancelled:
            import asyncio

            # anyio knows the cancellations of its own scopes by their messages.
            raise asyncio.CancelledError(*(() if self._message is None else (self._message,)))

    def resume(self) -> None:
        """Take the task on from where it waits, on its own loop."""
        callback, self._callback = self._callback, None
        if callback is not None:
            # A `Context` is a mapping, so an empty one is falsy.
            context = contextvars.copy_context() if self._context is None else self._context
            context.run(callback, self)

    def wake(self, _: object) -> None:
        """Have the task resumed, from any thread."""
        gathered: _Gathered | None = getattr(_gathering, "gathered", None)
        if gathered is not None:
            gathered.waiting[self._loop].append(self)
        else:
            _wake(self._loop, deque([self]), None)


_gathering = threading.local()


class _Gathered:
    """Who is to be resumed at the end of a `wake_together`."""

    __slots__ = ("then", "waiting")

    def __init__(self) -> None:
        self.waiting: defaultdict[asyncio.AbstractEventLoop, deque[Waiter]] = defaultdict(deque)
        self.then: list[Callable[[], None]] = []


class _Resumption:
    """Calls `then` when every one of `loops` has taken its tasks on, or will not any more.

    A loop that is closed drops what it was to do, and this with it.
    """

    __slots__ = ("__weakref__", "_left", "_process", "_then", "loops")

    def __init__(self, loops: list[asyncio.AbstractEventLoop], then: list[Callable[[], None]]) -> None:
        self.loops = loops
        self._left = len(loops)
        self._then = then
        self._process = os.getpid()
        _under_way.add(self)

    def one_done(self) -> None:
        """One loop is through."""
        self._left -= 1
        if self._left == 0:
            self.finish()

    def finish(self) -> None:
        """Nobody waits for what was gathered any more. May be called again."""
        then, self._then = self._then, []
        if os.getpid() == self._process:
            for call in then:
                call()

    def __del__(self) -> None:
        self.finish()


_under_way: weakref.WeakSet[_Resumption] = weakref.WeakSet()


def when_resumed(then: Callable[[], None]) -> bool:
    """Within `wake_together`: whether event loops have tasks to resume.

    If so, `then` is called when they have. Until then they may be busy with other things, and the tasks wait.
    """
    gathered: _Gathered = _gathering.gathered
    if not gathered.waiting:
        return False
    gathered.then.append(then)
    return True


def release_stopped_loops() -> None:
    """Wait no longer for loops that do not run: nobody knows whether they ever will."""
    for resumption in list(_under_way):
        if not any(loop.is_running() for loop in resumption.loops):
            resumption.finish()


@contextlib.contextmanager
def wake_together() -> Iterator[None]:
    """Resolve any number of futures within, and each event loop is woken once for all of its own.

    Every wake-up of a loop writes to its self-pipe, which gives up the GIL. Within another
    `wake_together` they are woken at the end of that.
    """
    if getattr(_gathering, "gathered", None) is not None:
        yield
        return
    gathered = _gathering.gathered = _Gathered()
    try:
        yield
    finally:
        _gathering.gathered = None
        waiting = gathered.waiting
        if waiting:
            resumption = _Resumption(list(waiting), gathered.then) if gathered.then else None
            own = waiting.pop(_running_loop(), None)
            for loop, waiters in waiting.items():
                _wake(loop, waiters, resumption)
            if own:  # Last, since its tasks may go on within this call.
                _wake(own[0].get_loop(), own, resumption)


def _running_loop() -> Any:
    import asyncio

    return asyncio._get_running_loop()


def _wake(loop: asyncio.AbstractEventLoop, waiters: deque[Waiter], resumption: _Resumption | None) -> None:
    import asyncio

    if asyncio._get_running_loop() is not loop:
        with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits on it any more.
            loop.call_soon_threadsafe(_resume, loop, waiters, resumption)
    elif asyncio.current_task(loop) is None and not _may_be_reentered(loop):
        _resume(loop, waiters, resumption)
    else:
        # A task is running: another cannot be resumed within it.
        loop.call_soon(_resume, loop, waiters, resumption)


def _may_be_reentered(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether somebody has replaced how `loop` runs, as nest_asyncio does.

    Then no task may run within the callback that reads results: to an inner loop that would be a callback
    that is running already.
    """
    return not type(loop).run_until_complete.__module__.startswith(("asyncio.", "uvloop."))


def _resume(loop: asyncio.AbstractEventLoop, waiters: deque[Waiter], resumption: _Resumption | None) -> None:
    """Take all these tasks on.

    A task may re-enter the loop, if nest_asyncio lets it, to wait there for another of them. A timer has the
    inner loop take on the others; unlike a call at once it does not cost the loop a round when it is not
    needed and cancelled.
    """
    timer: asyncio.TimerHandle | None = None
    try:
        while waiters:
            waiter = waiters.popleft()
            if waiters and timer is None:
                timer = loop.call_later(_REENTRY, _resume, loop, waiters, None)
            waiter.resume()
    finally:
        if timer is not None:
            timer.cancel()
        if waiters:  # A task has raised `KeyboardInterrupt`: the others still go on.
            loop.call_soon(_resume, loop, waiters, None)
        if resumption is not None:
            resumption.one_done()
