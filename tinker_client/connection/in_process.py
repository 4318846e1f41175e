"""The engine on a thread of this process: no isolation, for short runs and comparison."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from tinker_client.callbacks import run_soon
from tinker_client.environment import variables
from tinker_client.errors import SidecarStartupError
from tinker_client.waking import release_stopped_loops
from tinker_sidecar.ipc.protocol import Ack, Batch, Message
from tinker_sidecar.logs import log_through
from tinker_sidecar.processes.room import check_threads, fill_standard_descriptors
from tinker_sidecar.system import HTTP_MEMORY_VARIABLES, schedule_as_batch
from tinker_sidecar.system.loops import new_event_loop

if TYPE_CHECKING:
    from tinker_client.connection.backend import Backend
    from tinker_client.connection.gil_watcher import GilWatcher
    from tinker_sidecar.engine.engine import Engine
    from tinker_sidecar.onlookers import Onlookers

__all__ = ["InProcessHost"]

_END_TIMEOUT = 5.0
"""Seconds that the thread gets to end: it may wait for what the thread that waits for it holds."""
_THREADS = 2
"""The engine's, and that which gives back the HTTP library's memory, whose lack is told on stderr."""
_LOOK, _RARELY = 0.02, 0.32
"""Seconds until the first look for results that have been taken, and between looks in the end."""
_LOOK_EVERY = 1.0
"""Seconds between looks whether it is still needed."""


class InProcessHost:
    """An event loop on a daemon thread, with the engine on it."""

    def __init__(self, backend: Backend) -> None:
        log_through(run_soon)
        self._backend = backend
        self._watcher: GilWatcher | None = None
        self._inbox: deque[Message] = deque()
        self._scheduled = False
        self._looks = False
        """Whether a look for results that have been taken is to come."""
        self._stop = asyncio.Event()
        self._onlookers: Onlookers | None = None
        self._thread = threading.Thread(target=self._run, name="tinker-in-process-engine", daemon=True)
        try:
            fill_standard_descriptors()
            check_threads(_THREADS)
            with variables(HTTP_MEMORY_VARIABLES):
                from tinker_sidecar.engine.engine import Engine
                from tinker_sidecar.engine.http_runtime import http_runtime
            http_runtime(besides=1)
            self._loop = new_event_loop()
            try:
                self._engine: Engine = Engine(self._deliver, os.getpid(), backend.watching)
                self._thread.start()
            except BaseException:
                self._loop.close()
                raise
        except (OSError, RuntimeError) as error:
            raise SidecarStartupError(f"cannot start the sampling engine in this process: {error}") from error

    def send(self, message: Message) -> None:
        """Pass `message` to the engine, from any thread, without blocking."""
        self._inbox.append(message)
        if not self._scheduled:
            # In a context of its own: the engine's tasks would keep that of the first caller, and a library
            # in it would take itself for running under the caller's event loop.
            context = contextvars.Context()
            # One wake-up serves all that is sent before the engine's thread gets the GIL. No other call may
            # come between these two lines: Ctrl-C is raised after calls, and then nobody wakes the engine.
            self._scheduled = True
            try:
                self._loop.call_soon_threadsafe(self._drain, context=context)
            except RuntimeError:  # It has ended, as it was not needed.
                return
            if self._watcher is not None:
                self._watcher.expect()

    def note(self, message: Message) -> None:
        """Pass on what is in no hurry, without waking the engine."""
        self._inbox.append(message)

    def wait(self, done: Callable[[], bool], timeout: float | None) -> None:
        """Nothing: batches are delivered by the engine's own thread."""

    def read_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing, as in `wait`."""

    def close(self) -> None:
        """Stop the engine, and wait for its thread unless this is it."""
        with contextlib.suppress(RuntimeError):  # It has ended already.
            self._loop.call_soon_threadsafe(self._stop.set, context=contextvars.Context())
        if threading.current_thread() is not self._thread:
            self._thread.join(_END_TIMEOUT)

    def abandon(self) -> None:
        """Let go of what is the parent's; our thread did not survive the fork, its descriptors do no harm."""
        if self._onlookers is not None:
            self._onlookers.abandon()
        if self._watcher is not None:
            self._watcher.abandon()

    def _drain(self) -> None:
        self._scheduled = False
        self._drain_inbox()

    def _drain_inbox(self) -> None:
        while self._inbox:
            self._engine.handle(self._inbox.popleft())

    def _deliver(self, batch: Batch) -> None:
        is_awaited = False
        try:
            is_awaited = self._backend.deliver(batch)
        finally:
            self._engine.handle(Ack(batch.number, is_awaited))
        if is_awaited and not self._looks:
            self._look_soon(_LOOK)

    def _look_soon(self, pause: float) -> None:
        self._looks = True
        self._loop.call_later(pause, self._look, pause)

    def _look(self, pause: float) -> None:
        """See whether results have been taken, of which the engine is told without being woken."""
        self._looks = False
        self._drain_inbox()
        if self._engine.outbox.waiting_since is not None:
            if pause == _RARELY:
                release_stopped_loops()
            self._look_soon(min(2 * pause, _RARELY))

    def _run(self) -> None:
        schedule_as_batch()
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()
            self._backend.ended(self)

    def _end_if_unused(self) -> None:
        backend = self._backend
        if backend.is_unused() and backend.retire(self, self._engine.stats().since_start):
            self._stop.set()
        else:
            self._loop.call_later(_LOOK_EVERY, self._end_if_unused)

    async def _serve(self) -> None:
        from tinker_sidecar.onlookers import Onlookers

        # In two steps: a fork may come as soon as there is a port, which the child must let go of.
        self._onlookers = Onlookers(self._engine, self._backend.watching, os.getpid())
        self._onlookers.start()
        watching = asyncio.create_task(self._watch_gil()) if self._backend.watching.who else None
        self._loop.call_later(_LOOK_EVERY, self._end_if_unused)
        await self._stop.wait()
        self._onlookers.close()
        if watching is not None:
            watching.cancel()
        if self._watcher is not None:
            self._watcher.close()
        await self._engine.close()

    async def _watch_gil(self) -> None:
        from tinker_client.connection.gil_watcher import GilWatcher

        books, at_once = self._engine.books, self._backend.watching.who_at_once
        self._watcher = GilWatcher(
            lambda: bool(self._inbox) or books.is_busy(),
            lambda: self._engine.outbox.waiting_since,
            books.span,
            at_once=at_once,
        )
        books.gil_holders = self._watcher.holders
        await self._watcher.run()
