"""What a trace is made of: the events of Chrome's JSON trace format, as it writes them and as it reads them.

A trace is an array of them. Each line has all events of one thing that happened and ends in a comma, so what
has been written is readable at any time; viewers do not mind that the closing bracket is missing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from tinker_sidecar.ipc.stats import STAGES

__all__ = [
    "REQUESTS",
    "RESTARTS",
    "STAGE_LANES",
    "Origin",
    "TraceEvent",
    "TraceLane",
    "microseconds",
    "names_of_lanes",
    "span_forms",
]


class TraceLane(NamedTuple):
    """A lane that every trace has."""

    number: int
    name: str
    """Some viewers sort lanes by name, others by number."""
    category: str


REQUESTS = TraceLane(1, "0 request", "request")
"""The lane of whole requests. Perfetto takes lane 0 for that of an idle processor."""

STAGE_LANES = tuple(TraceLane(place + 2, f"{place + 1} {stage}", stage) for place, stage in enumerate(STAGES))
"""The lane of each stage, in their order."""


RESTARTS = TraceLane(STAGE_LANES[-1].number + 1, "restarts", "restarts")
"""The lane of restarts, which whoever finds the trace of a dead engine knows of."""


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
    """Names and order of the lanes that every trace has."""
    return [
        event
        for lane in (REQUESTS, *STAGE_LANES, RESTARTS)
        for event in (
            TraceEvent(0, "M", "thread_name", pid, lane.number, args={"name": lane.name}),
            TraceEvent(0, "M", "thread_sort_index", pid, lane.number, args={"sort_index": lane.number}),
        )
    ]


def span_forms(pid: int, lane: TraceLane) -> tuple[bytes, bytes]:
    """The begin and the end of a span in `lane`, to fill in by `%`, which is twice as fast as encoding.

    What is to be filled in is time, row and arguments; and time and row.
    """
    begin = TraceEvent(-1, "b", lane.name, pid, lane.number, lane.category, -1, args={})
    end = TraceEvent(-1, "e", lane.name, pid, lane.number, lane.category, -1)
    encode = msgspec.json.encode
    return (
        encode(begin).replace(b"-1", b"%d").replace(b"{}", b"%b"),
        encode(end).replace(b"-1", b"%d"),
    )
