"""Noticing that nothing gets done any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from tinker_sidecar.engine.failures import EngineError, connection_error
from tinker_sidecar.engine.reminders import Reminders
from tinker_sidecar.ipc.protocol import Failure

__all__ = ["StuckDetector"]

_NAMED = 10
"""Pending requests that a message lists; the rest it counts."""


class StuckDetector:
    """Fails all pending requests of a sampler when none of them has finished for `timeout` seconds.

    It is reminded once for all of them, and again, for what is left, whenever that was too early. While
    `excused()`, waiting is what is meant to happen. `trouble()` is what is known of the reason, or "".
    `on_stuck` hears of it, too.
    """

    __slots__ = (
        "_excused",
        "_is_watching",
        "_last_progress",
        "_on_stuck",
        "_pending",
        "_reminders",
        "_sampling_session_id",
        "_stuck",
        "_timeout",
        "_trouble",
    )

    def __init__(
        self,
        sampling_session_id: str,
        timeout: float,
        reminders: Reminders,
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
        self._reminders = reminders
        self._is_watching = False
        self._stuck: dict[asyncio.Task[object], EngineError] = {}

    def begin(self, seq_id: int) -> asyncio.Task[object]:
        """The current task, which is returned, works on request `seq_id` until `end`."""
        task = asyncio.current_task()
        assert task is not None
        now = monotonic()
        if not self._pending:
            self._last_progress = now
        self._pending[task] = (seq_id, now)
        if not self._is_watching:
            self._watch(now + self._timeout)
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
            try:
                raise stuck from None
            finally:
                del stuck  # It keeps this frame: a circle otherwise.

    def end(self, task: asyncio.Task[object]) -> None:
        """`task` works on it no more."""
        self._pending.pop(task, None)
        self._stuck.pop(task, None)

    def close(self) -> None:
        """Watch over nothing any more."""
        self._reminders.drop(self)

    def _watch(self, until: float) -> None:
        self._is_watching = True
        self._reminders.remind(self, until)

    def look(self) -> None:
        """See whether they are stuck: the time has come."""
        self._is_watching = False
        if not self._pending:
            return
        if self._excused():
            self._last_progress = monotonic()
        due = self._last_progress + self._timeout
        if due > monotonic():
            self._watch(due)
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
