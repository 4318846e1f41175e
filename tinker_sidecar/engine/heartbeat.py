"""Telling the server that a session lives, once for all who have it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from contextvars import Context
from time import monotonic

import msgspec

from tinker_sidecar.engine.failures import EngineError
from tinker_sidecar.engine.http import Lane, Response
from tinker_sidecar.engine.observer import Spans
from tinker_sidecar.logs import engine_logger
from tinker_sidecar.supervision import go_on

__all__ = ["SessionHeartbeat"]

_INTERVAL = 10.0
_UNANSWERED = 1.5
"""Seconds until the next one, if the server has not answered: the connection was the trouble."""
_WARNING_AFTER = 120.0


class SessionHeartbeat:
    """Of the session `session_id`, sent by `post` every 10 s until it is stopped.

    The first is sent at once if the session `may_be_silent`, perhaps for long. `programs` are told when it
    fails.
    """

    def __init__(
        self,
        session_id: str,
        post: Callable[..., Awaitable[Response]],
        programs: Collection[int],
        *,
        may_be_silent: bool,
    ) -> None:
        self._logger = engine_logger(__name__, programs)
        self._session_id = session_id
        self._post = post
        self.spans = Spans()
        """Hear of each."""
        self.last: float | None = None
        """When the server took one last, by `monotonic`."""
        self.has_ended = False
        """Whether the server has said that it does not know the session any more."""
        self._last_success = self._next = monotonic()
        if may_be_silent:
            self._next -= _INTERVAL
        # It outlives the program that it is begun for, if others have the session, too.
        self._task = asyncio.create_task(go_on("heartbeats", self._beat), context=Context())

    async def stop(self) -> None:
        """Send no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _beat(self) -> bool:
        """One heartbeat, when it is due; False once the session has ended.

        One that the server refuses is not retried: the next one is soon enough.
        """
        self._next = max(self._next + _INTERVAL, monotonic())
        await asyncio.sleep(self._next - monotonic())
        session_id = self._session_id
        body = msgspec.json.encode({"session_id": session_id, "type": "session_heartbeat"})
        sent_at = monotonic()
        try:
            response = await self._post("session_heartbeat", body, lane=Lane.HEARTBEAT)
            if response.status != 200:
                raise response.error()
            self._last_success = self.last = monotonic()
            self.spans.tell("heartbeats", "heartbeat", sent_at, self.last, session_id=session_id)
        except EngineError as error:
            if error.status in (404, 410):
                self.has_ended = True
                self._logger.error("session %s has ended on the server: %s", session_id, error)
                return False
            if error.status is None:
                self._next = min(self._next, monotonic() + _UNANSWERED - _INTERVAL)
            silence = monotonic() - self._last_success
            self.spans.tell("heartbeats", "failed", sent_at, monotonic(), session_id=session_id)
            level = logging.WARNING if silence > _WARNING_AFTER else logging.DEBUG
            self._logger.log(level, "no heartbeat of session %s for %.0f s: %s", session_id, silence, error)
        return True
