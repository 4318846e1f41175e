"""What the environment says that the user wants to see of the engine."""

from __future__ import annotations

import logging
import os
import sys

from tinker_client.config import number, switch
from tinker_client.errors import TinkerError
from tinker_sidecar.ipc.addresses import parse_address
from tinker_sidecar.ipc.watching import RECORDING_BYTES, Watching

__all__ = ["read_watching"]

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}


def read_watching() -> Watching:
    """Read `TINKER_SIDECAR_WHO`, `_METRICS`, `_TRACE`, `_RECORD`, `_LOG` and `_LOG_INTERVAL`.

    Raises `TinkerError` for one that is malformed.
    """
    program = sys.argv[0].rpartition(os.sep)[2] if sys.argv else ""
    return Watching(
        who=switch("TINKER_SIDECAR_WHO", default=True),
        who_at_once=switch("TINKER_SIDECAR_WHO"),
        metrics=_metrics(),
        trace=_path("TINKER_SIDECAR_TRACE"),
        log_level=_log_level(),
        debug=logging.getLogger("tinker_sidecar").isEnabledFor(logging.DEBUG),
        log_interval=number("TINKER_SIDECAR_LOG_INTERVAL", 60.0, "seconds, such as 60"),
        command="python" if program in ("", "-c") else program,
        record=_path("TINKER_SIDECAR_RECORD"),
        record_bytes=int(number("TINKER_SIDECAR_RECORD_MAX_BYTES", RECORDING_BYTES, "a number of bytes")),
    )


def _path(variable: str) -> str:
    text = os.environ.get(variable, "")
    if not text:
        return ""
    from pathlib import Path  # Late: few programs need it, and it takes time to import.

    return str(Path(text).absolute())


def _metrics() -> str:
    text = os.environ.get("TINKER_SIDECAR_METRICS", "").strip()
    try:
        if text:
            parse_address(text)
    except ValueError as error:
        raise TinkerError(f"TINKER_SIDECAR_METRICS is {error}") from None
    return text


def _log_level() -> int | None:
    text = os.environ.get("TINKER_SIDECAR_LOG", "")
    if not text:
        return None
    if (level := _LEVELS.get(text.strip().lower())) is None:
        raise TinkerError(f"TINKER_SIDECAR_LOG must be one of {', '.join(_LEVELS)}, got {text!r}")
    return level
