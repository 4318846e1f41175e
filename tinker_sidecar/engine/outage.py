"""Noticing that a server does not answer, and telling people soon and once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from time import monotonic

from tinker_sidecar.engine.observer import Spans
from tinker_sidecar.logs import engine_logger

__all__ = ["Outage"]


class Outage:
    """Whether the server at `place` answers.

    `waiting` tell how many requests wait for it, and for how many seconds they are tried again. That a
    server refuses connections shows at once. That it accepts them and is silent shows where it should answer
    at once: of such requests `asked` are open, and `answers` have come. Whoever sends one counts, and has a
    `look_again` if there is none to come; a call for each request would cost more.
    """

    _LOOK = 1.0
    _REFUSES = 3.0
    """Seconds without an answer, after a failure, that are worth a warning: less is a hiccup."""
    _SILENT_LOOKS = 4
    """How many looks in a row see no answer come; a time would also be over when this thread was held up."""

    def __init__(self, place: str, programs: Collection[int]) -> None:
        self._logger = engine_logger(__name__, programs)
        self._place = place
        self.waiting: list[Callable[[], tuple[int, float]]] = []
        self.spans = Spans()
        """Hear of each outage when it is over."""
        self.since: float | None = None
        """When the server stopped answering, by `monotonic`; None while it answers."""
        self._reason = ""
        self._told = False
        self.asked = 0
        self.answers = self._answers_seen = 0
        self._answered_at = 0.0
        """When the server was last seen to answer, or to have answered."""
        self._silent_looks = 0
        self.is_looking = False

    def lasts_for(self, now: float) -> float:
        """Seconds since the server stopped answering; 0 while it answers."""
        return 0.0 if self.since is None else now - self.since

    def failed(self, reason: str, asked_at: float | None) -> None:
        """A request got no answer, which was sent at that time by `monotonic`, if it was."""
        self._reason = reason
        if self.since is None:
            self.since = monotonic() if asked_at is None else max(asked_at, self._answered_at)
        if not self.is_looking:
            self.look_again()

    def look_again(self) -> None:
        """Have a look soon."""
        self.is_looking = True
        asyncio.get_running_loop().call_later(self._LOOK, self._look)

    def _look(self) -> None:
        self.is_looking = False
        silent = self.asked > 0 and self.answers == self._answers_seen
        if self.answers != self._answers_seen:
            self._answers_seen, self._answered_at = self.answers, monotonic()
        self._silent_looks = self._silent_looks + 1 if silent else 0
        if self._silent_looks >= self._SILENT_LOOKS and self.since is None:
            self.since = monotonic() - self._silent_looks * self._LOOK
            self._reason = f"{self._place} does not answer"
        if self.since is not None and not self._told and monotonic() - self.since >= self._REFUSES:
            self._tell(self.since)
        if self.asked or (self.since is not None and not self._told):
            self.look_again()

    def _tell(self, since: float) -> None:
        waiting = [(requests, patience) for requests, patience in (ask() for ask in self.waiting) if requests]
        if not waiting:
            return  # Nobody waits: heartbeats have a warning of their own.
        requests, patience = sum(requests for requests, _ in waiting), min(least for _, least in waiting)
        self._told = True
        until = time.strftime("%H:%M:%S", time.localtime(time.time() + since + patience - monotonic()))
        self._logger.warning(
            "%s. %d request%s retried until %s",
            self._reason,
            requests,
            " is" if requests == 1 else "s are",
            until,
        )

    def end(self) -> None:
        """The server has answered."""
        now = self._answered_at = monotonic()
        if self.since is not None:
            self.spans.tell("unreachable", self._reason, self.since, now)
            if self._told:
                self._logger.warning("%s: answers again after %.0f s", self._place, now - self.since)
        self.since, self._told, self._silent_looks = None, False, 0
