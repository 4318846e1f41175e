"""The page of a report: what a trace adds up to, as its template shows it."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from operator import attrgetter
from pathlib import Path

import jinja2

from tinker_sidecar.ipc.stats import STAGES, StageName
from tinker_sidecar.watch.advice import ADVICE
from tinker_sidecar.watch.charts import Bar, TimeAxis, averages, bars, stacked_areas
from tinker_sidecar.watch.trace_reading import Recording, SpanOnRecord, WholeRequest

__all__ = ["page_of"]

_WIDTH = 960
_LEFT = 96
"""Where charts over time begin; the names of rows stand before it."""
_REQUEST_WIDTH = 200
"""Width of the slowest request in its table."""
_PARTS = 96
"""Equal parts of the time, each with one value for each stage."""
_ROWS = 24
"""Rows of the table beside the chart."""
_WORTH_A_WORD = 0.1
"""The share of the time from which on a stage is worth a word beside the largest one."""
_BETWEEN_LOOKS = 0.5
"""Seconds between two times that somebody was seen, if it was one hold of the GIL."""
_STARVED = "starved"
_HEARTBEATS = "heartbeats"
_LANES = {
    "throttled": "the server refused more (429), and what was submitted waited",
    "unreachable": "the server could not be reached",
    _STARVED: "results were ready, and your program did not take them",
    "restarts": "the sidecar had died, and another took over",
    _HEARTBEATS: "the server was told that the session is alive",
}
"""What goes on beside the requests, in the order of the page."""


@dataclass(frozen=True)
class _StageRow:
    name: StageName
    meaning: str
    total: float
    share: float
    mean: float
    p50: float
    p90: float
    p99: float
    max: float


@dataclass(frozen=True)
class _Moment:
    """A part of the time, and how many requests were in each stage then, on average."""

    time: float
    in_stages: dict[str, float]


@dataclass(frozen=True)
class _Holder:
    """A place in the program that kept results waiting; None: nobody was seen to do it."""

    place: str | None
    thread: str
    times: int
    seconds: float
    longest: float
    share: float


@dataclass(frozen=True)
class _LaneRow:
    name: str
    meaning: str
    times: int
    seconds: float
    longest: float
    first: float
    pieces: list[Bar]


@dataclass(frozen=True)
class _SlowRequest:
    request: WholeRequest
    seconds: float
    mostly: str
    pieces: list[Bar]


class _Clock:
    """Turns times of the monotonic clock into those that people read, as it is where the report is made."""

    def __init__(self, recording: Recording) -> None:
        self._offset = recording.origin.time - recording.origin.monotonic
        self._short = recording.end - recording.start < 5

    def date(self, time: float) -> str:
        return f"{datetime.fromtimestamp(time + self._offset).astimezone():%Y-%m-%d %H:%M:%S %Z}"

    def time(self, time: float) -> str:
        when = datetime.fromtimestamp(time + self._offset)
        return f"{when:%H:%M:%S}" + (f".{when.microsecond // 100_000}" if self._short else "")


def page_of(recording: Recording) -> str:
    """The page, as HTML."""
    end = max(recording.end, recording.start + 1e-3)  # A chart needs some width, whatever happened.
    axis = TimeAxis(recording.start, end, _LEFT, _WIDTH - _LEFT)
    clock = _Clock(recording)
    stages = _stage_rows(recording)
    series: dict[str, list[float]] = {
        stage: averages(recording.starts[stage], recording.ends[stage], axis, _PARTS) for stage in STAGES
    }
    areas, limit = stacked_areas(series, axis, top=0, height=240)
    holders = _holders(recording.spans)
    return _template().render(
        recording=recording,
        command=recording.origin.name,
        advice=ADVICE,
        stages=stages,
        largest=_largest(stages) if recording.requests else [],
        totals=_row({row.name: row.total for row in stages}, _WIDTH),
        areas=areas,
        limit=limit,
        axis=axis,
        moments=_moments(series, axis, _PARTS),
        table=_moments(series, axis, _ROWS),
        slowest=[_slow_request(request, recording) for request in recording.slowest],
        holders=holders,
        lanes=_lane_rows(recording.spans, axis),
        heartbeat_gap=_heartbeat_gap(recording.spans),
        unfinished=recording.last_counters.get("in flight", {}),
        clock=clock,
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": _duration, "percent": _percent, "count": _count}
    return environment.get_template("report.html.jinja")


def _stage_rows(recording: Recording) -> list[_StageRow]:
    all_stages = sum(map(sum, recording.seconds.values()))
    return [_stage_row(stage, recording, all_stages) for stage in STAGES]


def _stage_row(stage: StageName, recording: Recording, all_stages: float) -> _StageRow:
    # Requests that were not in it, or too shortly for the trace, were in it for no time.
    values = sorted(recording.seconds[stage])
    absent = recording.requests - len(values)
    total = sum(values)
    return _StageRow(
        name=stage,
        meaning=ADVICE[stage].meaning,
        total=total,
        share=total / all_stages if all_stages else 0.0,
        mean=total / recording.requests if recording.requests else 0.0,
        p50=_percentile(values, absent, 0.5),
        p90=_percentile(values, absent, 0.9),
        p99=_percentile(values, absent, 0.99),
        max=values[-1] if values else 0.0,
    )


def _largest(stages: list[_StageRow]) -> list[_StageRow]:
    """The stage that took most; and the one after it, if it is worth a word."""
    first, second, *_ = sorted(stages, key=attrgetter("total"), reverse=True)
    return [first, second] if second.share >= _WORTH_A_WORD else [first]


def _percentile(values: list[float] | array[float], absent: int, part: float) -> float:
    """Of sorted `values` and as many zeros as are `absent`."""
    rank = int(part * (len(values) + absent - 1)) - absent
    return values[rank] if values and rank >= 0 else 0.0


def _moments(series: Mapping[str, list[float]], axis: TimeAxis, count: int) -> list[_Moment]:
    """The series, in so many parts."""
    each = _PARTS // count
    step = (axis.end - axis.start) / count
    return [
        _Moment(
            axis.start + number * step,
            {
                stage: sum(values[number * each : (number + 1) * each]) / each
                for stage, values in series.items()
            },
        )
        for number in range(count)
    ]


def _row(seconds: Mapping[str, float], width: float) -> list[Bar]:
    """One row as wide as `width`, each piece in proportion."""
    whole = sum(seconds.values())
    pieces: list[Bar] = []
    x = 0.0
    for name, value in seconds.items():
        if value:
            pieces.append(Bar(name, x, width * value / whole))
            x += pieces[-1].width
    return pieces


def _slow_request(request: WholeRequest, recording: Recording) -> _SlowRequest:
    seconds = dict.fromkeys((str(stage) for stage in STAGES), 0.0)
    for visit in request.visits:
        seconds[visit.stage] = seconds.get(visit.stage, 0.0) + visit.end - visit.start
    duration = request.end - request.start
    width = _REQUEST_WIDTH * duration / max(recording.durations)
    return _SlowRequest(
        request, duration, max(seconds, key=lambda stage: seconds[stage]), _row(seconds, width)
    )


def _holders(spans: list[SpanOnRecord]) -> list[_Holder]:
    """Who kept results waiting, the longest first; and last for how long nobody was seen to do it."""
    starved = [span for span in spans if span.lane == _STARVED]
    # Others tell that results waited, and not who was to blame.
    seen = [span for span in starved if "thread" in span.details]
    whole = _covered(starved)
    by_place: dict[tuple[str, str], list[SpanOnRecord]] = {}
    for span in seen:
        by_place.setdefault((span.name, str(span.details["thread"])), []).append(span)
    holders = [_holder(place, thread, holds, whole) for (place, thread), holds in by_place.items()]
    holders.sort(key=attrgetter("seconds"), reverse=True)
    unseen = whole - _covered(seen)
    if unseen > _WORTH_A_WORD * whole:
        holders.append(_Holder(None, "", 0, unseen, 0.0, unseen / whole))
    return holders


def _holder(place: str, thread: str, holds: list[SpanOnRecord], whole: float) -> _Holder:
    periods = _merged(holds, gap=_BETWEEN_LOOKS)
    seconds = _covered(holds)
    longest = max(end - start for start, end in periods)
    return _Holder(place, thread, len(periods), seconds, longest, seconds / whole if whole else 0.0)


def _covered(spans: list[SpanOnRecord]) -> float:
    """For how many seconds at least one of them went on."""
    return sum(end - start for start, end in _merged(spans, gap=0.0))


def _merged(spans: list[SpanOnRecord], gap: float) -> list[tuple[float, float]]:
    """Begins and ends of the periods in which there was one of them, and never none for longer than `gap`."""
    periods: list[tuple[float, float]] = []
    for span in sorted(spans, key=attrgetter("start")):
        if periods and span.start <= periods[-1][1] + gap:
            start, end = periods.pop()
            periods.append((start, max(end, span.end)))
        else:
            periods.append((span.start, span.end))
    return periods


def _lane_rows(spans: list[SpanOnRecord], axis: TimeAxis) -> list[_LaneRow]:
    by_lane: dict[str, list[SpanOnRecord]] = {lane: [] for lane in _LANES}
    for span in spans:
        by_lane.setdefault(span.lane, []).append(span)
    return [_lane_row(lane, found, axis) for lane, found in by_lane.items() if found]


def _lane_row(lane: str, spans: list[SpanOnRecord], axis: TimeAxis) -> _LaneRow:
    durations = [span.end - span.start for span in spans]
    return _LaneRow(
        name=lane,
        meaning=_LANES.get(lane, ""),
        times=len(spans),
        seconds=_covered(spans),
        longest=max(durations),
        first=min(span.start for span in spans),
        pieces=bars(((span.name, span.start, span.end) for span in spans), axis, least=2),
    )


def _heartbeat_gap(spans: list[SpanOnRecord]) -> float | None:
    """The longest time between two heartbeats."""
    starts = sorted(span.start for span in spans if span.lane == _HEARTBEATS)
    return max((later - earlier for earlier, later in pairwise(starts)), default=None)


def _duration(seconds: float) -> str:
    """As people say it."""
    if seconds == 0:
        return "0"
    if seconds < 0.0995:
        return f"{seconds * 1000:.2g} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def _percent(share: float) -> str:
    if 0 < share < 0.001:
        return "<0.1 %"
    return f"{share:.1%}".replace("%", " %") if share < 0.1 else f"{share:.0%}".replace("%", " %")


def _count(number: float) -> str:
    """A number of requests, which may be an average."""
    return f"{number:,.0f}" if number >= 10 or number == int(number) else f"{number:.1f}"
