"""What a trace is made of: the events of Chrome's JSON trace format, as it writes them and as it reads them.

A trace is an array of them. Each line has all events of one thing that happened and ends in a comma, so what
has been written is readable at any time; viewers do not mind that the closing bracket is missing.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from tinker_sidecar.ipc.stats import STAGES

__all__ = ["LANES", "REQUEST", "Origin", "TraceEvent", "microseconds", "names_of_lanes"]

REQUEST = "request"
"""The lane of whole requests."""

LANES = {lane: (number, f"{number} {lane}") for number, lane in enumerate((REQUEST, *STAGES))}
"""Numbers and names of the lanes of requests. Some viewers sort by the one, some by the other."""


class TraceEvent(msgspec.Struct, gc=False):
    """One event. `ts` comes first, because readers look for it before they read the rest."""

    ts: int
    """In microseconds of the machine's monotonic clock, so that traces of several processes fit together."""
    ph: str
    """What kind it is: "b" and "e" begin and end a span in a lane where spans overlap, "X" is a span in a
    lane where they do not, "C" has counters, and "M" names a lane or a process."""
    name: str
    pid: int
    tid: int
    cat: str | UnsetType = UNSET
    id: int | UnsetType = UNSET
    """Spans of one category that overlap differ in it."""
    dur: int | UnsetType = UNSET
    args: dict[str, Any] | UnsetType = UNSET


class Origin(msgspec.Struct, kw_only=True):
    """Whose trace it is: what the first event of every file has for its arguments."""

    name: str
    """The program's command line."""
    written_by: str
    process: str
    """The pid of the program and when it was started, which no other process has."""
    group: str
    """The same of its process group, which it shares with the processes that it starts."""
    monotonic: float
    time: float
    """What the two clocks said at one moment, in seconds; `time` since 1970."""


def microseconds(seconds: float) -> int:
    """A time as events have it."""
    return int(seconds * 1e6)


def names_of_lanes(pid: int) -> list[TraceEvent]:
    """Names and order of the lanes of requests."""
    return [
        event
        for tid, name in LANES.values()
        for event in (
            TraceEvent(0, "M", "thread_name", pid, tid, args={"name": name}),
            TraceEvent(0, "M", "thread_sort_index", pid, tid, args={"sort_index": tid}),
        )
    ]
