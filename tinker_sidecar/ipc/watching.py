"""What the user wants to see of an engine: the settings, as the client has read them for whoever hosts it."""

from __future__ import annotations

import msgspec

__all__ = ["RECORDING_BYTES", "Watching"]

RECORDING_BYTES = 64 << 30
"""What a recording may grow to unless the user says otherwise: some tens of millions of short results."""


class Watching(msgspec.Struct, frozen=True):
    """Read once, when an engine is started. All is off, or quiet, by default but for `who`."""

    who: bool = True
    """Look at who holds the GIL of the program while results wait for it."""
    who_at_once: bool = False
    """In process: have somebody ready to look from the start, not only once results have waited."""
    metrics: str = ""
    """Where to serve them for Prometheus: `[HOST:]PORT`; "" is nowhere."""
    trace: str = ""
    """The file to write a trace to: an absolute path; "" is none."""
    log_level: int | None = None
    """The level of the engine's loggers. None: INFO, and DEBUG if the program wants that."""
    debug: bool = False
    """Whether the program's loggers take DEBUG lines of the engine's."""
    log_interval: float = 60.0
    """Seconds between summaries in the log while there is traffic."""
    command: str = ""
    """The program's name, for people: without its arguments, which may hold secrets."""
    record: str = ""
    """The folder to record results in: an absolute path; "" is none."""
    record_bytes: int = RECORDING_BYTES
    """What the recording may grow to."""
