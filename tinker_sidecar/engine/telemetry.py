"""Events on their way to the server's telemetry: best effort, never in the way of anything."""

from __future__ import annotations

import asyncio
import itertools
import platform
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from tinker_sidecar.engine.failures import EngineError
from tinker_sidecar.engine.http import SDK_VERSION, Response
from tinker_sidecar.logs import engine_logger

__all__ = ["TelemetrySender"]

logger = engine_logger(__name__)

_FLUSH_INTERVAL = 10.0
_BATCH = 100
_QUEUE = 10_000

_process_uuid = str(uuid.uuid4())


class TelemetrySender:
    """Sends the events of one session every 10 s; when too many wait, the oldest are dropped."""

    def __init__(self, post: Callable[[str, bytes], Awaitable[Response]], session_id: str) -> None:
        self._post = post
        self._session_id = session_id
        self._queue: deque[msgspec.Raw] = deque(maxlen=_QUEUE)
        self._indices = itertools.count()
        self.log({"event": "SESSION_START", "severity": "INFO", "timestamp": datetime.now(UTC).isoformat()})

    def log(self, event: dict[str, Any]) -> None:
        """Queue `event`, numbered within the session. One that is no JSON is dropped: the others go on."""
        numbered = event | {"event_id": str(uuid.uuid4()), "event_session_index": next(self._indices)}
        try:
            self._queue.append(msgspec.Raw(msgspec.json.encode(numbered)))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            logger.debug("dropped a telemetry event that is no JSON: %s", type(error).__name__)

    async def step(self) -> bool:
        """Send what there is when it is time again; False once the server turns out to have no telemetry."""
        await asyncio.sleep(_FLUSH_INTERVAL)
        while self._queue:
            if not await self._flush():
                return False
        return True

    async def _flush(self) -> bool:
        events = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
        body = {
            "events": events,
            "platform": platform.system(),
            "sdk_version": SDK_VERSION,
            "session_id": self._session_id,
            "process_uuid": _process_uuid,
        }
        try:
            response = await self._post("telemetry", msgspec.json.encode(body))
        except EngineError as error:
            logger.debug("dropped %d telemetry events: %s", len(events), error)
            return True
        return response.status != 404
