"""What it costs to look: samples a second with nobody looking, with metrics, with a trace, with all of it.

512 in flight and no grader, where each microsecond shows most. Somebody asks for the metrics every second,
fifteen times as often as Prometheus does. The four run side by side and take turns, because the machine is
not as fast in one minute as in the next.
"""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from operator import truediv
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

from harness.bars import Bar, at_least
from harness.benchmark import Benchmark
from harness.peers import OURS, OURS_SIDECAR, Peer
from harness.plots import figure
from harness.tables import cell, microseconds, new_table, with_spread
from harness.workers import Worker
from rich.table import Table

IN_FLIGHT = 512
TURN = 2.0
"""Seconds, about: what is written up once a second belongs to it."""
TURNS = 3
PORT = 29_464
KEPT = 0.95
"""The part of the samples a second that must be left with everything on."""


class Point(NamedTuple):
    watched: str


class Watched(NamedTuple):
    """A program that somebody looks at, or not."""

    point: Point
    worker: Worker
    metrics: str | None
    """Where it has metrics."""


NOTHING, METRICS, TRACE, ALL = (Point(what) for what in ("nothing", "metrics", "trace", "everything"))
POINTS = (NOTHING, METRICS, TRACE, ALL)


def main() -> None:
    benchmark = Benchmark("observability", __doc__, among=(OURS, OURS_SIDECAR))
    with benchmark.server("--latency", "0.05") as url:
        for _ in benchmark.rounds(5):
            for peer in benchmark.peers:
                measure(benchmark, url, peer)
    benchmark.report([table(benchmark)], bars(benchmark))
    plot(benchmark)


def measure(benchmark: Benchmark, url: str, peer: Peer) -> None:
    """A program for each point, which take turns."""
    with ExitStack() as stack:
        points = (NOTHING, ALL) if benchmark.quick else POINTS
        programs = [stack.enter_context(watched(benchmark, url, peer, point)) for point in points]
        first = None
        for program in programs:  # It opens its connections.
            first = benchmark.ask(
                program.worker, "throughput", mode="async", samples=4 * IN_FLIGHT, in_flight=IN_FLIGHT
            )
        if first is None:
            return
        samples = IN_FLIGHT if benchmark.quick else int(first["samples_per_s"] * TURN)
        for number in range(1 if benchmark.quick else TURNS):
            for program in programs if number % 2 else programs[::-1]:
                take_turn(benchmark, peer, program, samples)


def take_turn(benchmark: Benchmark, peer: Peer, program: Watched, samples: int) -> None:
    with ExitStack() as stack:
        if program.metrics is not None:
            stack.enter_context(asking(program.metrics))
        settings = {"mode": "sync", "samples": samples, "in_flight": IN_FLIGHT}
        figures = benchmark.measure(program.worker, peer, program.point, "throughput", **settings)
        if figures is not None:
            figures["cpu_us"] = figures["client_cpu_us"] + figures["sidecar_cpu_us"]


@contextmanager
def watched(benchmark: Benchmark, url: str, peer: Peer, point: Point) -> Iterator[Watched]:
    """A program with what `point` says."""
    with ExitStack() as stack:
        variables = {}
        metrics = None
        if point in (TRACE, ALL):
            folder = stack.enter_context(TemporaryDirectory(prefix="trace-"))
            variables["TINKER_SIDECAR_TRACE"] = str(Path(folder) / "run.json")
        if point in (METRICS, ALL):
            port = PORT + POINTS.index(point)
            variables["TINKER_SIDECAR_METRICS"] = str(port)
            metrics = f"http://127.0.0.1:{port}/metrics"
        worker = stack.enter_context(benchmark.worker(peer, url, **variables))
        yield Watched(point, worker, metrics)


@contextmanager
def asking(address: str) -> Iterator[None]:
    """Somebody asks for metrics there every second."""
    over = threading.Event()

    def ask() -> None:
        while not over.wait(1.0):
            with suppress(OSError):  # It is not there yet.
                urllib.request.urlopen(address, timeout=5).read()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def kept(benchmark: Benchmark, peer: Peer, point: Point) -> float | None:
    """Samples a second, as a part of those with nobody looking: the median of what each turn kept."""
    rates, unwatched = (benchmark.runs.values(peer, it, "samples_per_s") for it in (point, NOTHING))
    return median(map(truediv, rates, unwatched)) if len(rates) == len(unwatched) > 0 else None


def table(benchmark: Benchmark) -> Table:
    runs = benchmark.runs
    result = new_table(
        "What it costs to look: median (least–most)", "client", "looking", "samples/s", "kept", "CPU/sample"
    )
    for peer in benchmark.peers:
        for point in POINTS:
            result.add_row(
                peer.name if point is NOTHING else "",
                point.watched,
                with_spread(runs, peer, point, "samples_per_s"),
                cell(kept(benchmark, peer, point), "{:.0%}"),
                microseconds(runs.median(peer, point, "cpu_us")),
            )
        result.add_section()
    return result


def bars(benchmark: Benchmark) -> list[Bar]:
    return [
        at_least(f"{peer.name}, everything on: samples/s kept", KEPT, kept(benchmark, peer, ALL))
        for peer in benchmark.peers
    ]


def plot(benchmark: Benchmark) -> None:
    width = 0.8 / len(benchmark.peers)
    with figure(benchmark.plot, "What it costs to look") as [axes]:
        for index, peer in enumerate(benchmark.peers):
            rates = [benchmark.runs.median(peer, point, "samples_per_s") or 0.0 for point in POINTS]
            places = [place + index * width for place in range(len(POINTS))]
            axes.bar(places, rates, width, color=peer.colour, label=peer.name)
        axes.set_xticks([place + 0.4 - width / 2 for place in range(len(POINTS))])
        axes.set_xticklabels([point.watched for point in POINTS])
        axes.set_ylabel(f"samples/s, {IN_FLIGHT} in flight")
        axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)


if __name__ == "__main__":
    main()
