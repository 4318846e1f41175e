"""Noticing that nothing gets done any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from types import TracebackType

from tinker_sidecar.engine.failures import EngineError, connection_error
from tinker_sidecar.ipc.protocol import Failure

__all__ = ["StuckDetector"]

_NAMED = 10
"""Pending requests that a message lists; the rest it counts."""


class StuckDetector:
    """Fails all pending requests of a sampler when none of them has finished for `timeout` seconds.

    One timer serves them all: it is set again, for what is left, whenever it fires too early. While
    `excused()`, waiting is what is meant to happen. `trouble()` is what is known of the reason, or "".
    `on_stuck` hears of it, too.
    """

    def __init__(
        self,
        sampling_session_id: str,
        timeout: float,
        excused: Callable[[], bool],
        trouble: Callable[[], str],
        on_stuck: Callable[[Failure], None],
    ) -> None:
        self._sampling_session_id = sampling_session_id
        self._excused = excused
        self._trouble = trouble
        self._on_stuck = on_stuck
        self._timeout = timeout
        self._pending: dict[asyncio.Task[object], tuple[int, float]] = {}
        self._last_progress = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._stuck: dict[asyncio.Task[object], EngineError] = {}

    def watch(self, seq_id: int) -> _Watch:
        """`with` the current task at work on request `seq_id`.

        Raises the `EngineError` that says so if it is stuck. The task then counts as cancelled no more.
        """
        return _Watch(self, seq_id)

    def begin(self, task: asyncio.Task[object], seq_id: int) -> None:
        """`task` works on request `seq_id` from now on."""
        now = monotonic()
        if not self._pending:
            self._last_progress = now
        self._pending[task] = (seq_id, now)
        if self._timer is None:
            self._set_timer(self._timeout)

    def end(self, task: asyncio.Task[object], *, done: bool) -> EngineError | None:
        """`task` is over, and `done` if it has a result; returns that it was stuck, if it was."""
        self._pending.pop(task, None)
        if done:
            self._last_progress = monotonic()
        return self._stuck.pop(task, None)

    def close(self) -> None:
        """Watch over nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _set_timer(self, delay: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay, self._check)

    def _check(self) -> None:
        self._timer = None
        if not self._pending:
            return
        if self._excused():
            self._last_progress = monotonic()
        left = self._last_progress + self._timeout - monotonic()
        if left > 0:
            self._set_timer(left)
            return
        error = connection_error(self._message())
        for task in self._pending:
            self._stuck[task] = error
            task.cancel()
        self._on_stuck(error.failure)

    def _message(self) -> str:
        now = monotonic()
        pending = list(self._pending.values())
        named = ", ".join(f"{seq_id} ({now - since:.0f} s)" for seq_id, since in pending[:_NAMED])
        more = f" and {len(pending) - _NAMED} more" if len(pending) > _NAMED else ""
        return (
            f"no request of {self._sampling_session_id} has finished for {self._timeout:.0f} s "
            f"(RetryConfig.progress_timeout): they appear to be stuck. {self._trouble()}"
            f"Pending, by seq_id and age: {named}{more}"
        )


class _Watch:
    # Not a coroutine around the request's: each one that waits would keep its frame.
    __slots__ = ("_detector", "_seq_id", "_task")

    def __init__(self, detector: StuckDetector, seq_id: int) -> None:
        self._detector = detector
        self._seq_id = seq_id

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._detector.begin(task, self._seq_id)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stuck = self._detector.end(self._task, done=error is None)
        if stuck is not None and isinstance(error, asyncio.CancelledError):
            self._task.uncancel()
            raise stuck from None
