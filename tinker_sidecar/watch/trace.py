"""A trace of what the engine does, for ui.perfetto.dev, chrome://tracing and `tinker-sidecar report`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from heapq import heappush, heapreplace
from itertools import pairwise
from pathlib import Path
from time import monotonic

import msgspec

from tinker_sidecar.watch.trace_events import LANES, REQUEST, TraceEvent, microseconds, names_of_lanes
from tinker_sidecar.watch.trace_writer import PART_BYTES, TraceWriter

__all__ = ["TraceFile"]

_WRITE_EVERY = 1.0
_CHUNK = 1 << 20
"""Bytes that are written without waiting for that second to end: larger buffers cost more to grow."""
_SHORTEST = 10e-6
"""A stay in a stage is left out if it is shorter: it could not be seen, and most requests have some."""

_Places = list[tuple[float, int]]
"""Places in a lane, and when each gets free, as a heap."""


class TraceFile:
    """The trace of one engine. Every method runs on the engine's event loop and returns within microseconds.

    `path` is the file that the user asked for, `program` the process whose requests they are and `command`
    its command line. A thread writes what is added within about a second, and when the trace is closed, so at
    most a second of it dies with the process. If the file cannot be written, now or later, one warning
    says so, and the trace ends there.

    `part_bytes` bounds a file. A full one becomes `run.1.json`, the one before it `run.2.json`, and so on.
    """

    def __init__(self, path: Path, program: int, command: str, *, part_bytes: int = PART_BYTES) -> None:
        self._encode_into = msgspec.json.Encoder().encode_into
        self._pid = program
        self._lines = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._requests: _Places = []
        self._lanes: dict[str, _Places] = {}
        self._lane_ids: dict[tuple[str, int], int] = {}
        self._writer = TraceWriter(path, program, command, part_bytes)
        for event in names_of_lanes(program):
            self._add_name(event)

    def request(
        self,
        visits: Sequence[tuple[str, float]],
        *,
        number: int,
        request_id: str | None,
        sampling_session_id: str | None,
        prompt_tokens: int | None,
        outcome: str,
    ) -> None:
        """A request has ended, and `outcome` is how: "finished", "cancelled" or the class of its error.

        `visits` are the stages that it was in and when it entered each, on the monotonic clock, oldest first,
        and at last "end" and when it ended. For a request that has not ended yet, as the trace is closed,
        that is now, and its outcome is "unfinished".
        """
        if self._writer.is_over:
            return
        pid, began, ended = self._pid, visits[0][1], visits[-1][1]
        # Viewers give each id a row of its own. A request takes over that of one that had ended when it
        # began, so there are as many rows as requests at once. Ids of other programs differ, so that traces
        # can be joined.
        row = pid << 20 | _place(self._requests, began, ended)
        details = {
            "request": number,
            "request_id": request_id,
            "sampling_session_id": sampling_session_id,
            "prompt_tokens": prompt_tokens,
            "outcome": outcome,
        }
        lane_id, lane = LANES[REQUEST]
        # Its own end comes last: a line that is torn somewhere has it not.
        end = TraceEvent(microseconds(ended), "e", lane, pid, lane_id, REQUEST, row)
        events = [TraceEvent(microseconds(began), "b", lane, pid, lane_id, REQUEST, row, args=details)]
        which = {"request": number}
        for (stage, entered), (_, left) in pairwise(visits):
            if left - entered >= _SHORTEST:
                lane_id, lane = LANES[stage]
                events += (
                    TraceEvent(microseconds(entered), "b", lane, pid, lane_id, stage, row, args=which),
                    TraceEvent(microseconds(left), "e", lane, pid, lane_id, stage, row),
                )
        events.append(end)
        self._add(events)

    def span(self, lane: str, name: str, start: float, end: float, **details: object) -> None:
        """Something, such as a pause or an outage, went on from `start` to `end` on the monotonic clock."""
        if self._writer.is_over:
            return
        begins, ends = microseconds(start), microseconds(end)
        lane_id = self._lane_id(lane, _place(self._lanes.setdefault(lane, []), start, end))
        event = TraceEvent(begins, "X", name, self._pid, lane_id, lane, dur=ends - begins, args=details)
        self._add([event])

    def counter(self, name: str, values: Mapping[str, float]) -> None:
        """How many there are of something now, such as requests in each stage."""
        if self._writer.is_over:
            return
        self._add([TraceEvent(microseconds(monotonic()), "C", name, self._pid, 0, args=dict(values))])

    def close(self) -> None:
        """Write what is there still, and end the file. Waits for the disk, but not for long."""
        self.flush()
        self._writer.close()

    def _lane_id(self, lane: str, place: int) -> int:
        """The number of a lane, which is named when it is first used. Spans at the same time need several."""
        lane_id = self._lane_ids.get((lane, place))
        if lane_id is None:
            lane_id = self._lane_ids[lane, place] = len(LANES) + len(self._lane_ids)
            name = lane if place == 0 else f"{lane} ({place + 1})"
            self._add_name(TraceEvent(0, "M", "thread_name", self._pid, lane_id, args={"name": name}))
        return lane_id

    def _add_name(self, event: TraceEvent) -> None:
        """Every file of the trace needs it; the one that is being written gets it now."""
        self._writer.repeat(event)
        self._add([event])

    def _add(self, events: list[TraceEvent]) -> None:
        """One line of the file. A line's end and a comma take the places of the array's brackets."""
        lines = self._lines
        start = len(lines)
        self._encode_into(events, lines, -1)
        lines[start] = ord("\n")
        lines[-1] = ord(",")
        if len(lines) > _CHUNK:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_WRITE_EVERY, self.flush)

    def flush(self) -> None:
        """Have what there is written now."""
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
