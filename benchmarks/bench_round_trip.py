"""A lone request, and no server time: what the way there and back takes.

With n graders wanting the GIL, each time it is given up costs up to n switch intervals (5 ms each) to get it
back. One such wait is the least a call can cost that waits for anything. "ours, portable" does without what
only Linux has, as on a Mac: a bell of `poll` and a pipe wakes the receiving thread instead of epoll.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import NamedTuple

from harness.bars import Bar, at_most
from harness.benchmark import Benchmark
from harness.peers import OURS_PORTABLE, OURS_SIDECAR
from harness.plots import figure, line, logarithmic
from harness.runs import scaled
from harness.tables import cell, new_table, seconds, times
from rich.table import Table

MODES = ("sync", "async")
HOGS = (0, 1, 2, 4)
ALLOWED_WAITS = 1.5


class Point(NamedTuple):
    mode: str
    hogs: int


def main() -> None:
    benchmark = Benchmark("round_trip", __doc__, also=(OURS_PORTABLE,))
    hogs_levels = (0, 2) if benchmark.quick else HOGS
    points = [Point(mode, hogs) for mode in MODES for hogs in hogs_levels]
    lasting = {"seconds": 0.1, "at_least": 2} if benchmark.quick else {"seconds": 1.5}
    with benchmark.server("--latency", "0") as url:
        for _ in benchmark.rounds(2):
            with ExitStack() as stack:
                workers = {peer: stack.enter_context(benchmark.worker(peer, url)) for peer in benchmark.peers}
                for point in points:
                    for peer, worker in workers.items():
                        benchmark.measure(worker, peer, point, "round_trip", **point._asdict(), **lasting)
    benchmark.report([table(benchmark, points)], bars(benchmark))
    plot(benchmark, hogs_levels)


def table(benchmark: Benchmark, points: list[Point]) -> Table:
    runs = benchmark.runs
    result = new_table(
        "One request at a time: medians; × is how many times as long as ours with the sidecar takes",
        "hogs",
        "client",
        "p50",
        "least–most",
        "×",
        "p99",
        "calls",
    )
    for point in points:
        for peer in benchmark.peers:
            if not runs.values(peer, point, "p50_s"):
                continue
            result.add_row(
                f"{point.hogs}, {point.mode}" if peer is benchmark.peers[0] else "",
                peer.name,
                seconds(runs.median(peer, point, "p50_s")),
                "–".join(map(seconds, runs.spread(peer, point, "p50_s"))),
                times(runs.ratio(peer, OURS_SIDECAR, point, "p50_s")),
                seconds(runs.median(peer, point, "p99_s")),
                cell(sum(runs.values(peer, point, "calls"))),
            )
        result.add_section()
    return result


def bars(benchmark: Benchmark) -> list[Bar]:
    return [
        at_most(
            f"{mode}, hogs: {hogs}, p50",
            ALLOWED_WAITS * hogs * sys.getswitchinterval() * 1e3,
            scaled(benchmark.runs.median(OURS_SIDECAR, Point(mode, hogs), "p50_s"), 1e3),
            " ms",
        )
        for mode in MODES
        for hogs in HOGS
        if hogs
    ]


def plot(benchmark: Benchmark, levels: tuple[int, ...]) -> None:
    names = [str(hogs) for hogs in levels]
    waits = [hogs * sys.getswitchinterval() * 1e3 or None for hogs in levels]
    with figure(
        benchmark.plot, "How long one call takes while Python threads want the GIL", 2, sharey=True
    ) as panels:
        for axes, mode in zip(panels, MODES, strict=True):
            for peer in benchmark.peers:
                medians = [
                    scaled(benchmark.runs.median(peer, Point(mode, hogs), "p50_s"), 1e3) for hogs in levels
                ]
                line(axes, peer, names, medians)
            known = [(name, wait) for name, wait in zip(names, waits, strict=True) if wait]
            axes.plot(*zip(*known, strict=True), "k:", label="one wait for the GIL")
            logarithmic(axes, y=True)
            axes.set_title(f"{mode} caller", loc="left")
            axes.set_xlabel("grading threads in the program")
        panels[0].set_ylabel("median round trip, ms (log scale)")
        panels[0].figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)


if __name__ == "__main__":
    main()
