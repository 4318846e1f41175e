"""Events for the people who run the service: best effort, and off with `TINKER_TELEMETRY=0`."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

__all__ = ["Severity", "Telemetry"]

logger = logging.getLogger(__name__)

_MOST = 64 * 1024
"""Bytes, or characters, of a value that are sent."""

Severity = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


class Telemetry:
    """Queues events of one session; the engine sends them in batches and drops what cannot be sent.

    No method raises, whatever it is given: a program must not fail because of what it says about itself.
    """

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self._send = send

    def log(
        self, event_name: str, event_data: Mapping[str, object] | None = None, severity: Severity = "INFO"
    ) -> bool:
        """Queue an event.

        Parameters
        ----------
        event_name
            One out of few.
        event_data
            What is to be known about it. A value that JSON cannot hold goes as its repr; one of more than
            64 KiB is cut.
        severity
            How bad it is.

        Returns
        -------
        bool
            Whether it is queued.
        """
        return self._event(
            "GENERIC_EVENT",
            severity,
            lambda: {
                "event_name": _text(event_name),
                "event_data": {_text(name): _plain(value) for name, value in (event_data or {}).items()},
            },
        )

    def log_exception_sync(self, exception: BaseException, severity: Severity = "ERROR") -> bool:
        """Queue what went wrong, the `exception` with its traceback, and how bad that is: its `severity`.

        Returns
        -------
        bool
            Whether it is queued.
        """
        return self._event(
            "UNHANDLED_EXCEPTION",
            severity,
            lambda: {
                "error_type": type(exception).__name__,
                "error_message": _text(exception, str),
                "traceback": _text(exception, _traceback),
            },
        )

    async def log_exception(self, exception: BaseException, severity: Severity = "ERROR") -> bool:
        """What `log_exception_sync` does with the same `exception` and `severity`."""
        return self.log_exception_sync(exception, severity)

    def _event(self, kind: str, severity: Severity, fields: Callable[[], dict[str, Any]]) -> bool:
        now = datetime.now(UTC).isoformat()
        try:
            self._send({"event": kind, "severity": _text(severity), "timestamp": now, **fields()})
        except Exception:  # What was given may be anything, and so may what it raises.
            logger.debug("dropped a telemetry event", exc_info=True)
            return False
        return True


def _plain(value: object) -> Any:
    """`value` as JSON holds it, or as text."""
    try:
        encoded = msgspec.json.encode(value, enc_hook=_text)
        if len(encoded) <= _MOST:
            plain = msgspec.json.decode(encoded)
            msgspec.msgpack.encode(plain)  # It travels so, and integers of more than 64 bits do not.
            return plain
    except Exception:  # noqa: BLE001, S110  # Surrogates, huge integers, cycles, keys that are no text.
        pass
    return _text(value)


def _text(value: object, show: Callable[[Any], str] = repr) -> str:
    try:
        text = value if isinstance(value, str) else show(value)
    except Exception as error:  # noqa: BLE001
        text = f"<{type(value).__name__}, which raises {type(error).__name__} when shown>"
    return text[:_MOST].encode("utf-8", "backslashreplace").decode()


def _traceback(exception: BaseException) -> str:
    return "".join(traceback.format_exception(exception))
