"""The realistic one: an asyncio loop that grades with sympy, inline, what it samples.

128 problems, groups of 16. Grading has the event loop and the GIL to itself while it runs, so no client can
make the loop faster than grading alone; what a client adds to that is the figure to compare.
"""

from __future__ import annotations

from typing import NamedTuple

from harness.benchmark import Benchmark
from harness.peers import OURS_SIDECAR
from harness.plots import bars_across, figure
from harness.tables import cell, new_table, seconds, times, with_spread
from rich.table import Table


class Point(NamedTuple):
    problems: int
    group_size: int
    max_tokens: int


def main() -> None:
    benchmark = Benchmark("grading_loop", __doc__)
    point = Point(2 if benchmark.quick else 128, 16, 128)
    with benchmark.server("--latency", "0.5", "--jitter", "0.5") as url:
        for _ in benchmark.rounds(2):
            for peer in benchmark.peers:
                with benchmark.worker(peer, url) as worker:
                    benchmark.measure(worker, peer, point, "grading_loop", **point._asdict())
    benchmark.report([table(benchmark, point)], [])
    plot(benchmark, point)


def table(benchmark: Benchmark, point: Point) -> Table:
    runs = benchmark.runs
    result = new_table(
        f"{point.problems} groups of {point.group_size}, graded as they come: median (least–most); "
        "× is how many times as long as ours with the sidecar takes",
        "client",
        "end to end, s",
        "×",
        "grading alone",
        "added by sampling, s",
        "sidecar's CPU/sample",
    )
    for peer in benchmark.peers:
        result.add_row(
            peer.name,
            with_spread(runs, peer, point, "seconds", "{:.2f}"),
            times(runs.ratio(peer, OURS_SIDECAR, point, "seconds")),
            seconds(runs.median(peer, point, "grading_alone_s")),
            with_spread(runs, peer, point, "added_s", "{:.2f}"),
            cell(runs.median(peer, point, "sidecar_cpu_us"), "{:,.0f} µs"),
        )
    return result


def plot(benchmark: Benchmark, point: Point) -> None:
    lasted = {peer: benchmark.runs.median(peer, point, "seconds") for peer in benchmark.peers}
    alone = [benchmark.runs.median(peer, point, "grading_alone_s") for peer in benchmark.peers]
    floor = min((value for value in alone if value), default=0.0)
    title = f"Sampling and grading {point.problems * point.group_size:,} completions on one event loop"
    with figure(benchmark.plot, title) as [axes]:
        bars_across(axes, {peer: value for peer, value in lasted.items() if value}, "{:.1f} s")
        axes.axvline(floor, color="black", linestyle=":", label="grading alone")
        axes.set_xlabel("seconds, end to end")
        axes.figure.legend(loc="outside lower center")


if __name__ == "__main__":
    main()
