"""Noticing that a server does not answer, and telling people soon and once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from time import monotonic

from tinker_sidecar.engine.observer import Span, no_span
from tinker_sidecar.logs import engine_logger

__all__ = ["Outage"]

logger = engine_logger(__name__)


class Outage:
    """Whether the server at `place` answers.

    `waiting` tells how many requests wait for it, and for how many seconds they are tried again. That a
    server refuses connections shows at once. That it accepts them and is silent shows where it should answer
    at once: at the requests between `asked` and `left`.
    """

    _LOOK = 1.0
    _REFUSES = 3.0
    """Seconds without an answer, after a failure, that are worth a warning: less is a hiccup."""
    _SILENT_LOOKS = 4
    """How many looks in a row see no answer come; a time would also be over when this thread was held up."""

    def __init__(self, place: str) -> None:
        self._place = place
        self.waiting: Callable[[], tuple[int, float]] = lambda: (0, 0.0)
        self.span: Span = no_span
        """Hears of each outage when it is over."""
        self._since: float | None = None
        self._reason = ""
        self._told = False
        self._asked = 0
        self._answers = self._answers_seen = 0
        self._silent_looks = 0
        self._is_looking = False

    def lasts_for(self, now: float) -> float:
        """Seconds since the server stopped answering; 0 while it answers."""
        return 0.0 if self._since is None else now - self._since

    def asked(self) -> None:
        """A request is sent that the server should answer at once."""
        self._asked += 1
        if not self._is_looking:
            self._look_again()

    def left(self) -> None:
        """That request is over, one way or another."""
        self._asked -= 1

    def answered(self) -> None:
        """The server has answered something."""
        self._answers += 1
        if self._since is not None:
            self._end()

    def failed(self, reason: str) -> None:
        """A request got no answer."""
        self._reason = reason
        if self._since is None:
            self._since = monotonic()
        if not self._is_looking:
            self._look_again()

    def _look_again(self) -> None:
        self._is_looking = True
        asyncio.get_running_loop().call_later(self._LOOK, self._look)

    def _look(self) -> None:
        self._is_looking = False
        silent = self._asked > 0 and self._answers == self._answers_seen
        self._answers_seen = self._answers
        self._silent_looks = self._silent_looks + 1 if silent else 0
        if self._silent_looks >= self._SILENT_LOOKS and self._since is None:
            self._since = monotonic() - self._silent_looks * self._LOOK
            self._reason = f"{self._place} does not answer"
        if self._since is not None and not self._told and monotonic() - self._since >= self._REFUSES:
            self._tell(self._since)
        if self._asked or (self._since is not None and not self._told):
            self._look_again()

    def _tell(self, since: float) -> None:
        requests, patience = self.waiting()
        if not requests:
            return  # Nobody waits: heartbeats have a warning of their own.
        self._told = True
        until = time.strftime("%H:%M:%S", time.localtime(time.time() + since + patience - monotonic()))
        logger.warning(
            "%s. %d request%s retried until %s",
            self._reason,
            requests,
            " is" if requests == 1 else "s are",
            until,
        )

    def _end(self) -> None:
        now = monotonic()
        if self._since is not None:
            self.span("unreachable", self._reason, self._since, now)
            if self._told:
                logger.warning("%s: answers again after %.0f s", self._place, now - self._since)
        self._since, self._told, self._silent_looks = None, False, 0
