"""Noticing that nothing gets done any more."""

from __future__ import annotations

from collections.abc import Callable, Collection
from time import monotonic

from tinker_sidecar.engine.failures import connection_error
from tinker_sidecar.engine.journey import Journey
from tinker_sidecar.engine.reminders import Reminders
from tinker_sidecar.ipc.protocol import Failure

__all__ = ["StuckDetector"]

_NAMED = 10
"""Pending requests that a message lists; the rest it counts."""


class StuckDetector:
    """Notices when none of a sampler's pending requests has finished for `timeout` seconds.

    It is reminded once for all of them, and again, for what is left, whenever that was too early. While
    `excused()`, waiting is what is meant to happen. `trouble()` is what is known of the reason, or "".
    `on_stuck` hears which requests are to fail, and with what.
    """

    __slots__ = (
        "_excused",
        "_first_seq_id",
        "_is_watching",
        "_last_progress",
        "_on_stuck",
        "_pending",
        "_reminders",
        "_sampling_session_id",
        "_timeout",
        "_trouble",
    )

    def __init__(
        self,
        sampling_session_id: str,
        first_seq_id: int,
        timeout: float,
        reminders: Reminders,
        excused: Callable[[], bool],
        trouble: Callable[[], str],
        on_stuck: Callable[[Collection[int], Failure], None],
    ) -> None:
        self._sampling_session_id = sampling_session_id
        self._first_seq_id = first_seq_id
        self._excused = excused
        self._trouble = trouble
        self._on_stuck = on_stuck
        self._timeout = timeout
        self._pending: dict[int, Journey] = {}
        self._last_progress = 0.0
        self._reminders = reminders
        self._is_watching = False

    def begin(self, journey: Journey) -> None:
        """That request is pending until `end`."""
        if not self._pending:
            self._last_progress = monotonic()
        self._pending[journey.sample.request] = journey
        if not self._is_watching:
            self._watch(self._last_progress + self._timeout)

    def progressed(self) -> None:
        """One of them has a result."""
        self._last_progress = monotonic()

    def is_pending(self, request: int) -> bool:
        """Whether it has begun, and not ended."""
        return request in self._pending

    def end(self, request: int) -> None:
        """It is pending no more."""
        self._pending.pop(request, None)

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
        failure = connection_error(self._message()).failure
        stuck = list(self._pending)
        self._pending.clear()
        self._on_stuck(stuck, failure)

    def _message(self) -> str:
        now = monotonic()
        pending = list(self._pending.values())
        named = ", ".join(
            f"{self._first_seq_id + journey.sample.offset} ({now - journey.began:.0f} s)"
            for journey in pending[:_NAMED]
        )
        more = f" and {len(pending) - _NAMED} more" if len(pending) > _NAMED else ""
        return (
            f"no request of {self._sampling_session_id} has finished for {self._timeout:.0f} s "
            f"(RetryConfig.progress_timeout): they appear to be stuck. {self._trouble()}"
            f"Pending, by seq_id and age: {named}{more}"
        )
