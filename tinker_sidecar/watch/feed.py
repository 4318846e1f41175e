"""Signs of life: how a process beside the program knows that the engine in the program does not run.

In process the engine needs the program's GIL. While it can run and has something to do, it gives a sign of
life every `TICK` seconds. What a sign is late is how long the engine, and so every result, had to wait.
"""

from __future__ import annotations

from time import monotonic

import msgspec

from tinker_sidecar.ipc.stats import GilHolder

__all__ = ["BUSY", "IDLE", "IDLE_TICK", "TICK", "WAKING", "Feed", "Finding"]

TICK = 0.05
"""Seconds. Among threads that compete for the GIL each sign is late by some 20 ms, which must be seen."""
BUSY = b"+"
"""The sign of life of an engine that has requests in flight: the next one follows soon."""
IDLE = b"-"
"""Nothing is in flight, so nothing waits. The next sign may be a long time coming."""
WAKING = b"!"
"""An engine that had nothing to do was given something, of which it will know within `IDLE_TICK`."""
IDLE_TICK = 0.25
"""Seconds after which an engine that has nothing to do looks again if that is so."""


class Finding(msgspec.Struct, omit_defaults=True):
    """What the process beside the program says, a line of JSON: a line to log, or all GIL holders so far.

    `spans` are since the last such line: a lane, the place, when it began and ended, and the thread.
    """

    level: int = 0
    logger: str = ""
    message: str = ""
    holders: list[GilHolder] | None = None
    spans: list[tuple[str, str, float, float, str]] = []


class Feed:
    """Signs of life, as they come in."""

    def __init__(self) -> None:
        self._due: float | None = None
        """When the next sign should come; None: there need not be one."""
        self._late = 0.0

    def take(self, signs: bytes) -> None:
        """These have come, the last one just now."""
        now = monotonic()
        self._late += self._overdue(now)
        within = {BUSY: TICK, WAKING: IDLE_TICK}.get(signs[-1:])
        self._due = None if within is None else now + within

    def waiting_since(self) -> float | None:
        """When the sign that is missing was due; None if none is."""
        return self._due if self._due is not None and monotonic() > self._due else None

    def starved(self) -> float:
        """Seconds by which signs have been late so far, added up."""
        return self._late + self._overdue(monotonic())

    def _overdue(self, now: float) -> float:
        return 0.0 if self._due is None else max(0.0, now - self._due)
