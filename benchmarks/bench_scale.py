"""From 1 to 100,000 requests in flight: the cost of a sample must not depend on how many others wait.

Each run keeps so many futures unresolved until it has samples for about two seconds, and fails if one is
lost. The cost is the CPU time of the program and of its sidecar. A peer that would need half a minute for
one burst is left out at that point.
"""

from __future__ import annotations

from typing import NamedTuple

from harness.bars import Bar, at_least, at_most
from harness.benchmark import Benchmark
from harness.peers import OURS_SIDECAR, Peer
from harness.plots import figure, line, logarithmic
from harness.tables import microseconds, new_table, seconds, with_spread
from rich.table import Table

PATIENCE = 25.0
"""Seconds a run may be expected to take, unless it is one a bar is about."""
RATIO_TO = 1000
MOST = 100_000


class Point(NamedTuple):
    in_flight: int


def main() -> None:
    benchmark = Benchmark("scale", __doc__)
    levels = (1, 64) if benchmark.quick else (1, 10, 100, RATIO_TO, 10_000, MOST)
    points = [Point(in_flight) for in_flight in levels]
    lasting = 0.1 if benchmark.quick else 2.0
    with benchmark.server("--latency", "0.05") as url:
        for number in benchmark.rounds(2):
            for peer in benchmark.peers:
                if number == 1 or peer is OURS_SIDECAR:  # The one the bar is about, twice.
                    climb(benchmark, peer, url, points, lasting)
    benchmark.report([table(benchmark, points)], bars(benchmark))
    plot(benchmark, levels)


def climb(benchmark: Benchmark, peer: Peer, url: str, points: list[Point], lasting: float) -> None:
    pace = 20.0  # One after another, at the server's latency.
    for point in points:
        if peer is not OURS_SIDECAR and point.in_flight / pace > PATIENCE:
            return
        with benchmark.worker(peer, url) as worker:
            samples = max(point.in_flight, int(pace * lasting))
            settings = {"mode": "sync", "samples": samples, "in_flight": point.in_flight}
            figures = benchmark.measure(worker, peer, point, "throughput", **settings)
            if not figures:
                return
            figures["cost_us"] = figures["client_cpu_us"] + figures["sidecar_cpu_us"]
            pace = figures["samples_per_s"]


def table(benchmark: Benchmark, points: list[Point]) -> Table:
    runs = benchmark.runs
    result = new_table(
        "Scale: median (least–most)",
        "in flight",
        "client",
        "samples/s",
        "client CPU/sample",
        "sidecar's",
        "p50",
        "submitted in",
    )
    for point in points:
        for peer in benchmark.peers:
            result.add_row(
                f"{point.in_flight:,}" if peer is benchmark.peers[0] else "",
                peer.name,
                with_spread(runs, peer, point, "samples_per_s"),
                *(microseconds(runs.median(peer, point, f"{who}_cpu_us")) for who in ("client", "sidecar")),
                *(seconds(runs.median(peer, point, name)) for name in ("p50_s", "submit_s")),
            )
        result.add_section()
    return result


def bars(benchmark: Benchmark) -> list[Bar]:
    runs = benchmark.runs
    most, some = (runs.median(OURS_SIDECAR, Point(n), "cost_us") for n in (MOST, RATIO_TO))
    growth = most / some if most and some else None
    done = runs.median(OURS_SIDECAR, Point(MOST), "samples")
    return [
        at_least("answered of 100,000 in flight", MOST, done),
        at_most(
            "cost of a sample, times that with 1,000 in flight",
            1.2,
            growth,
            "×",
        ),
    ]


def plot(benchmark: Benchmark, levels: tuple[int, ...]) -> None:
    with figure(benchmark.plot, "The cost of a sample, from one request in flight to 100,000") as [axes]:
        for peer in benchmark.peers:
            costs = [benchmark.runs.median(peer, Point(in_flight), "cost_us") for in_flight in levels]
            line(axes, peer, list(levels), costs)
        logarithmic(axes, x=True, y=True)
        axes.set_xlabel("requests in flight")
        axes.set_ylabel("CPU per sample, program and sidecar, µs")
        axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)


if __name__ == "__main__":
    main()
