"""Noticing that nothing gets done any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

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

    def begin(self, seq_id: int) -> asyncio.Task[object]:
        """The current task, which is returned, works on request `seq_id` until `end`."""
        task = asyncio.current_task()
        assert task is not None
        now = monotonic()
        if not self._pending:
            self._last_progress = now
        self._pending[task] = (seq_id, now)
        if self._timer is None:
            self._set_timer(self._timeout)
        return task

    def progressed(self) -> None:
        """One of them has a result."""
        self._last_progress = monotonic()

    def raise_if_stuck(self, task: asyncio.Task[object]) -> None:
        """For when `task` is cancelled: raise the error that says why if it was for being stuck.

        It then counts as cancelled no more.
        """
        if (stuck := self._stuck.pop(task, None)) is not None:
            task.uncancel()
            raise stuck from None

    def end(self, task: asyncio.Task[object]) -> None:
        """`task` works on it no more."""
        self._pending.pop(task, None)
        self._stuck.pop(task, None)

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
