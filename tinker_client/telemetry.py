"""Events for the people who run the service: best effort, and off with `TINKER_TELEMETRY=0`."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

__all__ = ["Severity", "Telemetry"]

Severity = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


class Telemetry:
    """Queues events of one session; the engine sends them in batches and drops what cannot be sent."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self._send = send

    def log(
        self, event_name: str, event_data: dict[str, object] | None = None, severity: Severity = "INFO"
    ) -> bool:
        """Queue an event: a name out of few, and data, of which what is not JSON goes as its repr.

        Returns True: nothing can refuse it.
        """
        self._event("GENERIC_EVENT", severity, event_name=event_name, event_data=event_data or {})
        return True

    def log_exception_sync(self, exception: BaseException, severity: Severity = "ERROR") -> bool:
        """Queue what went wrong, with its traceback."""
        self._event(
            "UNHANDLED_EXCEPTION",
            severity,
            error_type=type(exception).__name__,
            error_message=str(exception),
            traceback="".join(traceback.format_exception(exception)),
        )
        return True

    async def log_exception(self, exception: BaseException, severity: Severity = "ERROR") -> bool:
        """What `log_exception_sync` does."""
        return self.log_exception_sync(exception, severity)

    def _event(self, kind: str, severity: Severity, **fields: object) -> None:
        event = {"event": kind, "severity": severity, "timestamp": datetime.now(UTC).isoformat()} | fields
        self._send(msgspec.to_builtins(event, enc_hook=repr))
