"""A trace of what the engine does, for ui.perfetto.dev, chrome://tracing and `tinker-sidecar report`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from heapq import heappush, heapreplace
from pathlib import Path
from time import monotonic

import msgspec

from tinker_sidecar.watch.trace_events import (
    REQUESTS,
    RESTARTS,
    STAGE_LANES,
    TraceEvent,
    microseconds,
    names_of_lanes,
    span_forms,
)
from tinker_sidecar.watch.trace_writer import PART_BYTES, TraceWriter

__all__ = ["TraceFile"]

_WRITE_EVERY = 1.0
_CHUNK = 1 << 20
"""Bytes that are written without waiting for that second to end: larger buffers cost more to grow."""
_SHORTEST = 10
"""Microseconds. A shorter stay in a stage is left out: it could not be seen, and most requests have one."""

_AT_ONCE = 64
"""Requests that are written up together, which takes much less of each than one at a time."""

_Places = list[tuple[float, int]]
"""Places in a lane, and when each gets free, as a heap."""


class TraceFile:
    """The trace of one engine. Its methods run on the engine's event loop, and return within microseconds.

    `path` is the file that the user asked for, `program` the process whose requests they are and `command`
    its command line. A thread writes what is added within about a second, and when the trace is closed, so at
    most a second of it dies with the process. If the file cannot be written, now or later, one warning
    says so, and the trace ends there.

    `part_bytes` bounds a file. A full one becomes `run.1.json`, the one before it `run.2.json`, and so on.
    """

    def __init__(self, path: Path, program: int, command: str, *, part_bytes: int = PART_BYTES) -> None:
        self._encode = msgspec.json.Encoder().encode
        self._pid = program
        self._request_begins, self._request_ends = span_forms(program, REQUESTS)
        self._stays = [b"%b,%b" % span_forms(program, lane) for lane in STAGE_LANES]
        """What is written of a stay in each stage."""
        self._ended: list[tuple[Sequence[float], int, Mapping[str, object]]] = []
        """Requests that are not among the lines yet, as `_add_request` takes them."""
        self._lines = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._requests: _Places = []
        self._lanes: dict[str, _Places] = {}
        self._lane_ids = {RESTARTS.name: RESTARTS.number}
        self._writer = TraceWriter(path, program, command, part_bytes, names_of_lanes(program))

    def request(
        self,
        visits: Sequence[float],
        *,
        number: int,
        request_id: str | None,
        sampling_session_id: str | None,
        prompt_tokens: int | None,
        outcome: str,
    ) -> None:
        """A request has ended, and `outcome` is how: "finished", "cancelled" or the class of its error.

        `visits` are the stages that it was in, by their places in `STAGES`, each followed by when it entered
        it, on the monotonic clock, oldest first; and at last when it ended, whatever stage that names. For a
        request that has not ended yet as the trace is closed, that is now, and its outcome is "unfinished".
        """
        if self._writer.is_over:
            return
        details = {
            "request": number,
            "request_id": request_id,
            "sampling_session_id": sampling_session_id,
            "prompt_tokens": prompt_tokens,
            "outcome": outcome,
        }
        self._ended.append((visits, number, details))
        if len(self._ended) >= _AT_ONCE:
            self._add_ended()
        self._flush_soon()

    def span(self, lane: str, name: str, start: float, end: float, **details: object) -> None:
        """Something, such as a pause or an outage, went on from `start` to `end` on the monotonic clock."""
        if self._writer.is_over:
            return
        pid, begins, ends = self._pid, microseconds(start), microseconds(end)
        place = _place(self._lanes.setdefault(lane, []), start, end)
        if place == 0:
            event = TraceEvent(
                begins, "X", name, pid, self._lane_id(lane), lane, dur=ends - begins, args=details
            )
            self._add(self._encode(event))
            return
        # There may be hundreds at once, such as a pause for each request that the server refused. They share
        # one more lane, as requests do. Viewers make a lane of what has one name.
        more = f"{lane}, more at once"
        lane_id, row = self._lane_id(more), pid << 20 | place
        begin = TraceEvent(begins, "b", more, pid, lane_id, lane, row, args={**details, "what": name})
        end_of_it = TraceEvent(ends, "e", more, pid, lane_id, lane, row)
        self._add(self._encode(begin) + b"," + self._encode(end_of_it))

    def counter(self, name: str, values: Mapping[str, float]) -> None:
        """How many there are of something now, such as requests in each stage."""
        if self._writer.is_over:
            return
        now = microseconds(monotonic())
        event = TraceEvent(now, "C", name, self._pid, self._pid, "counters", args=dict(values))
        self._add(self._encode(event))

    def close(self) -> None:
        """Write what is there still, and end the file. Waits for the disk, but not for long."""
        self.flush()
        self._writer.close()

    def _add_ended(self) -> None:
        ended, self._ended = self._ended, []
        for visits, number, details in ended:
            self._add_request(visits, number, details)

    def _add_request(self, visits: Sequence[float], number: int, details: Mapping[str, object]) -> None:
        times = [int(time * 1e6) for time in visits[1::2]]  # As `microseconds` does, without its calls.
        # Viewers give each id a row of its own. A request takes over that of one that had ended when it
        # began, so there are as many rows as requests at once. Ids of other programs differ, so that traces
        # can be joined.
        row = self._pid << 20 | _place(self._requests, times[0], times[-1])
        events = [self._request_begins % (times[0], row, self._encode(details))]
        which = b'{"request":%d}' % number
        for stage, entered, left in zip(visits[::2], times, times[1:], strict=False):
            if left - entered >= _SHORTEST:
                events.append(self._stays[int(stage)] % (entered, row, which, left, row))
        # Its own end comes last: a line that is torn somewhere has it not.
        events.append(self._request_ends % (times[-1], row))
        self._add(b",".join(events))

    def _lane_id(self, lane: str) -> int:
        """The number of a lane, which is named when it is first used."""
        lane_id = self._lane_ids.get(lane)
        if lane_id is None:
            lane_id = self._lane_ids[lane] = RESTARTS.number + len(self._lane_ids)
            event = TraceEvent(0, "M", "thread_name", self._pid, lane_id, args={"name": lane})
            # Every file of the trace needs it; the one that is being written gets it now.
            self._writer.repeat(event)
            self._add(self._encode(event))
        return lane_id

    def _add(self, events: bytes) -> None:
        """One line of the file."""
        self._lines += b"\n%b," % events
        if len(self._lines) > _CHUNK:
            self.flush()
        else:
            self._flush_soon()

    def _flush_soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_WRITE_EVERY, self.flush)

    def flush(self) -> None:
        """Have what there is written now."""
        self._add_ended()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lines:
            self._writer.write(self._lines)
            self._lines = bytearray()


def _place(places: _Places, start: float, end: float) -> int:
    """A place that is free from `start` on, taken until `end`: the one free for longest, or a new one."""
    if places and places[0][0] <= start:
        place = places[0][1]
        heapreplace(places, (end, place))
    else:
        place = len(places)
        heappush(places, (end, place))
    return place
