"""The arithmetic of the report's charts: what is drawn where. The template draws it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Area", "Bar", "TimeAxis", "averages", "bars", "nice_step", "stacked_areas"]

_NICE_SECONDS = (
    0.1,
    0.2,
    0.5,
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    14400,
    21600,
    43200,
)
_DAY = 86400.0


@dataclass(frozen=True)
class Area:
    """What lies between two curves."""

    name: str
    path: str
    """As SVG has it."""


@dataclass(frozen=True)
class Bar:
    """A piece of a row, from `x` on."""

    name: str
    x: float
    width: float


@dataclass(frozen=True)
class TimeAxis:
    """Seconds from `start` to `end`, drawn from `left` on over `width`."""

    start: float
    end: float
    left: float
    width: float

    def x(self, time: float) -> float:
        """Where `time` is."""
        return self.left + self.width * (time - self.start) / (self.end - self.start)

    def ticks(self, most: int) -> list[float]:
        """Round times, counted from the start, for at most so many labels."""
        step = nice_step((self.end - self.start) / most)
        return [self.start + number * step for number in range(int((self.end - self.start) / step) + 1)]


def nice_step(least: float) -> float:
    """The smallest round number of seconds that is at least `least`; whole days if need be."""
    for step in _NICE_SECONDS:
        if step >= least:
            return step
    return _DAY * -(-least // _DAY)


def averages(starts: Sequence[float], ends: Sequence[float], axis: TimeAxis, count: int) -> list[float]:
    """How many intervals there were at once, on average, in each of `count` equal parts of the axis."""
    width = (axis.end - axis.start) / count
    covered = [0.0] * count
    """Seconds of the intervals that begin or end in each part, ..."""
    changes = [0] * (count + 1)
    """... and the changes in the number of those that cover a part wholly: no loop goes over the parts."""
    for start, end in zip(starts, ends, strict=True):
        first = min(int((start - axis.start) / width), count - 1)
        last = min(int((end - axis.start) / width), count - 1)
        if first == last:
            covered[first] += end - start
        else:
            covered[first] += axis.start + (first + 1) * width - start
            covered[last] += end - (axis.start + last * width)
            changes[first + 1] += 1
            changes[last] -= 1
    whole = 0
    result: list[float] = []
    for seconds, change in zip(covered, changes, strict=False):
        whole += change
        result.append(whole + seconds / width)
    return result


def stacked_areas(
    series: Mapping[str, Sequence[float]], axis: TimeAxis, top: float, height: float
) -> tuple[list[Area], float]:
    """The series on top of each other, the first one lowest; and the value that the upper edge stands for."""
    count = len(next(iter(series.values())))
    highest = max((sum(values[i] for values in series.values()) for i in range(count)), default=0.0)
    limit = _round_up(highest)
    # Each value stands for a whole part of the axis: the curve goes through its middle, and on to both ends.
    middles = [axis.left + axis.width * (i + 0.5) / count for i in range(count)]
    xs = [axis.left, *middles, axis.left + axis.width]
    below = [0.0] * count
    areas: list[Area] = []
    for name, values in series.items():
        above = [low + value for low, value in zip(below, values, strict=True)]
        if any(values):
            upper = _curve(xs, above, limit, top, height)
            lower = _curve(xs, below, limit, top, height)
            areas.append(Area(name, f"M{' L'.join(upper)} L{' L'.join(reversed(lower))} Z"))
        below = above
    return areas, limit


def bars(spans: Iterable[tuple[str, float, float]], axis: TimeAxis, least: float) -> list[Bar]:
    """Names and times as pieces of one row, each at least `least` wide. Those that would touch are one."""
    pieces: list[Bar] = []
    for name, start, end in sorted(spans, key=lambda span: span[1]):
        x = axis.x(start)
        width = max(axis.x(end) - x, least)
        if pieces and x <= pieces[-1].x + pieces[-1].width + 1:
            last = pieces.pop()
            name = (
                last.name if name in last.name.split(", ") or len(last.name) > 200 else f"{last.name}, {name}"
            )
            x, width = last.x, max(last.width, x + width - last.x)
        pieces.append(Bar(name, x, width))
    return pieces


def _curve(xs: list[float], values: Sequence[float], limit: float, top: float, height: float) -> list[str]:
    ys = [top + height * (1 - value / limit) for value in (values[0], *values, values[-1])]
    return [f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True)]


def _round_up(value: float) -> float:
    """A round number that is at least `value`, and whose half is round, too."""
    power = 1.0
    while power * 10 < value:
        power *= 10
    while power > value > 0:
        power /= 10
    return next(
        (factor * power for factor in (1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10) if factor * power >= value),
        10 * power,
    )
