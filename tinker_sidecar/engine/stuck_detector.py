"""Noticing that nothing gets done any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

from tinker_sidecar.engine.failures import EngineError, connection_error

__all__ = ["StuckDetector"]

_T = TypeVar("_T")

_NAMED = 10
"""Pending requests that a message lists; the rest it counts."""


class StuckDetector:
    """Fails all pending requests of a sampler when none of them has finished for `timeout` seconds.

    One timer serves them all: it is set again, for what is left, whenever it fires too early. While
    `excused()`, waiting is what is meant to happen. `trouble()` is what is known of the reason, or "".
    """

    def __init__(
        self,
        sampling_session_id: str,
        timeout: float,
        excused: Callable[[], bool],
        trouble: Callable[[], str],
    ) -> None:
        self._sampling_session_id = sampling_session_id
        self._excused = excused
        self._trouble = trouble
        self._timeout = timeout
        self._pending: dict[asyncio.Task[object], tuple[int, float]] = {}
        self._last_progress = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._stuck: dict[asyncio.Task[object], EngineError] = {}

    async def watch(self, seq_id: int, work: Awaitable[_T]) -> _T:
        """What comes of `work`, which is done for request `seq_id` in the current task.

        Raises the `EngineError` that says so if it is stuck. The task then counts as cancelled no more.
        """
        task = asyncio.current_task()
        assert task is not None
        now = monotonic()
        if not self._pending:
            self._last_progress = now
        self._pending[task] = (seq_id, now)
        if self._timer is None:
            self._set_timer(self._timeout)
        try:
            result = await work
            self._last_progress = monotonic()
            return result
        except asyncio.CancelledError:
            error = self._stuck.pop(task, None)
            if error is None:
                raise
            task.uncancel()
            raise error from None
        finally:
            self._pending.pop(task, None)

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
