"""Reads a trace back, with its older parts, and adds it up."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappush, heappushpop
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET

from tinker_sidecar.ipc.stats import STAGES
from tinker_sidecar.watch.trace_events import REQUESTS, Origin, TraceEvent
from tinker_sidecar.watch.trace_files import NotOurTraceError, origin_in, parts_of

__all__ = ["Recording", "SpanOnRecord", "Visit", "WholeRequest", "read_trace"]

SLOWEST = 20
"""Requests that are kept one by one."""

_decode_events = msgspec.json.Decoder(list[TraceEvent]).decode


@dataclass(frozen=True, slots=True)
class Visit:
    """A stay of a request in a stage, in seconds of the monotonic clock."""

    stage: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class WholeRequest:
    """A request, from the call of `sample` to its end."""

    number: int
    request_id: str | None
    sampling_session_id: str | None
    prompt_tokens: int | None
    outcome: str
    start: float
    end: float
    visits: tuple[Visit, ...]


@dataclass(frozen=True, slots=True)
class SpanOnRecord:
    """Something that went on for a while beside the requests."""

    lane: str
    name: str
    start: float
    end: float
    details: dict[str, Any]


def _arrays() -> dict[str, array[float]]:
    return {stage: array("d") for stage in STAGES}


@dataclass
class Recording:
    """All that a trace has to say. Times are seconds of the monotonic clock."""

    origin: Origin
    files: list[Path] = field(default_factory=list)
    torn_lines: int = 0
    """Lines that cannot be read, such as the last one of a process that was killed."""
    requests: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    starts: dict[str, array[float]] = field(default_factory=_arrays)
    ends: dict[str, array[float]] = field(default_factory=_arrays)
    """When stays in each stage began and ended."""
    seconds: dict[str, array[float]] = field(default_factory=_arrays)
    """How long requests were in each stage, of those that were in it."""
    durations: array[float] = field(default_factory=lambda: array("d"))
    """Of whole requests."""
    spans: list[SpanOnRecord] = field(default_factory=list)
    last_counters: dict[str, dict[str, float]] = field(default_factory=dict)
    start: float = float("inf")
    end: float = float("-inf")
    _slowest: list[tuple[float, int, WholeRequest]] = field(default_factory=list)

    @property
    def slowest(self) -> list[WholeRequest]:
        """The slowest requests, the slowest first."""
        return [request for *_, request in sorted(self._slowest, reverse=True)]

    def add_line(self, events: list[TraceEvent]) -> None:
        """What one line of a file has."""
        head = events[0]
        if head.cat == REQUESTS.category:
            self._add_request(events)
        elif head.ph == "X":
            self._add_span(head, head.name, head.ts + (0 if head.dur is UNSET else head.dur))
        elif head.ph == "b" and len(events) == 2:
            self._add_span(head, _args(head).pop("what", head.name), events[1].ts)
        elif head.ph == "C":
            self.last_counters[head.name] = _args(head)
            self._reaches(head.ts / 1e6, head.ts / 1e6)

    def _add_request(self, events: list[TraceEvent]) -> None:
        request = _request_of(events)
        if request is None:
            self.torn_lines += 1
            return
        self.requests += 1
        self.outcomes[request.outcome] += 1
        self.prompt_tokens += request.prompt_tokens or 0
        in_stage: dict[str, float] = {}
        for visit in request.visits:
            if visit.stage in self.starts:
                self.starts[visit.stage].append(visit.start)
                self.ends[visit.stage].append(visit.end)
                in_stage[visit.stage] = in_stage.get(visit.stage, 0.0) + visit.end - visit.start
        for stage, seconds in in_stage.items():
            self.seconds[stage].append(seconds)
        duration = request.end - request.start
        self.durations.append(duration)
        self._reaches(request.start, request.end)
        entry = (duration, self.requests, request)
        if len(self._slowest) < SLOWEST:
            heappush(self._slowest, entry)
        else:
            heappushpop(self._slowest, entry)

    def _add_span(self, event: TraceEvent, name: str, end: int) -> None:
        span = SpanOnRecord(str(event.cat), name, event.ts / 1e6, end / 1e6, _args(event))
        self.spans.append(span)
        self._reaches(span.start, span.end)

    def _reaches(self, start: float, end: float) -> None:
        self.start = min(self.start, start)
        self.end = max(self.end, end)


def read_trace(path: Path) -> Recording:
    """The trace in `path` and its older parts.

    Raises `OSError` if `path` cannot be read, and `NotOurTraceError` if it is no trace or an empty one.
    """
    recording: Recording | None = None
    newest = _origin_of(path)
    for part in reversed(parts_of(path)):
        try:
            # Of another process are what a run before this one has left.
            if _origin_of(part).process != newest.process:
                continue
        except (FileNotFoundError, NotOurTraceError):
            continue
        recording = recording or Recording(newest)
        recording.files.append(part)
        for line in _lines(part):
            try:
                recording.add_line(_decode_events(b"[%b]" % line))
            except (msgspec.DecodeError, UnicodeDecodeError):
                recording.torn_lines += 1
    assert recording is not None  # `path` itself is one of the parts.
    return recording


def _origin_of(path: Path) -> Origin:
    with path.open("rb") as file:
        head = file.read(1 << 16)
    if not head:
        raise NotOurTraceError("it is empty")
    try:
        return origin_in(head)
    except NotOurTraceError:
        raise NotOurTraceError("it is not a trace that TINKER_SIDECAR_TRACE has written") from None


def _lines(path: Path) -> Iterator[bytes]:
    """The events of each line, without the array's brackets and the comma at the line's end."""
    with path.open("rb") as file:
        for line in file:
            if events := line.rstrip(b",\n").removeprefix(b"[").removesuffix(b"]"):
                yield events


def _request_of(events: list[TraceEvent]) -> WholeRequest | None:
    """The request of a line; None if the line has not all of it."""
    begins = [event for event in events if event.ph == "b"]
    ends = [event for event in events if event.ph == "e"]
    args = _args(events[0])
    try:
        (start, *entered), (*left, end) = begins, ends
        return WholeRequest(
            number=args["request"],
            request_id=args["request_id"],
            sampling_session_id=args["sampling_session_id"],
            prompt_tokens=args["prompt_tokens"],
            outcome=args["outcome"],
            start=start.ts / 1e6,
            end=end.ts / 1e6,
            visits=tuple(
                Visit(str(begin.cat), begin.ts / 1e6, finish.ts / 1e6)
                for begin, finish in zip(entered, left, strict=True)
            ),
        )
    except (KeyError, ValueError):
        return None


def _args(event: TraceEvent) -> dict[str, Any]:
    return {} if event.args is UNSET else event.args
