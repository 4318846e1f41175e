"""What a client gets from a server that refuses what is too much, and how much it has refused to it.

512 requests want to be answered all the time. A server with 64 slots, or with a token bucket, gives so
much and no more; one that refuses a share of all requests at random would give all of it, to whoever asks
again. Twice the server changes after eight seconds, and the figures are those from five seconds later on.
All are the server's: what it took, and what it refused.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

from harness.bars import Bar, at_least, at_most
from harness.benchmark import Benchmark
from harness.peers import OFFICIAL_NEW, OURS, OURS_SIDECAR, Peer
from harness.plots import figure
from harness.request_log import count_between, read_answers, replace_limits
from harness.runs import Figures
from harness.tables import cell, new_table
from rich.table import Table

PEERS = (OFFICIAL_NEW, OURS, OURS_SIDECAR)
CHANGE = 8.0
SETTLING = 5.0


class Point(NamedTuple):
    """A server: its options, what it gives a second (None: anything), and its slots after the change."""

    name: str
    options: tuple[str, ...]
    gives: float | None
    slots_later: int | None = None
    seconds: float = 16.0
    """How long it is asked."""


SLOTS = Point("64 slots of 200 ms", ("--slots", "64", "--latency", "0.2"), 320)
BUCKET = Point("100/s, burst of 100", ("--rate", "100", "--latency", "0.05"), 100, seconds=32.0)
"""Asked for longer, since the bucket may be full at one end of the time and empty at the other."""
FEW = Point("2 % refused at random", ("--fault", "asample:429@0.02", "--latency", "0.05"), None)
MANY = Point("20 % refused at random", ("--fault", "asample:429@0.2", "--latency", "0.05"), None)
DOUBLES = Point("64 slots, then 128", ("--slots", "64", "--latency", "0.2"), 640, 128)
HALVES = Point("64 slots, then 32", ("--slots", "64", "--latency", "0.2"), 160, 32)
POINTS = (SLOTS, BUCKET, FEW, MANY, DOUBLES, HALVES)


def main() -> None:
    benchmark = Benchmark("throttled", __doc__)
    peers = [peer for peer in PEERS if peer in benchmark.peers and benchmark.in_full(peer)]
    points = POINTS[:2] if benchmark.quick else POINTS
    for _ in benchmark.rounds(2):
        for point in points:
            for peer in peers:
                with benchmark.server(*point.options) as url:
                    seconds = 3.0 if benchmark.quick else point.seconds
                    if figures := run(benchmark, peer, url, point, seconds):
                        benchmark.runs.add(peer, point, figures)
    benchmark.report([table(benchmark, peers, points)], bars(benchmark, peers))
    plot(benchmark, peers, points)


def run(benchmark: Benchmark, peer: Peer, url: str, point: Point, seconds: float) -> Figures | None:
    """What the server gave and refused; `settled` is without the first seconds."""
    timer = threading.Timer(CHANGE, replace_limits, [url], {"slots": point.slots_later})
    with benchmark.worker(peer, url) as worker:
        benchmark.ask(worker, "connect")
        if point.slots_later is not None:
            timer.start()
        figures = benchmark.ask(worker, "load", seconds=seconds, in_flight=512)
        timer.cancel()
        if figures is None:
            return None
        answers = read_answers(url)
    began, ended = figures["began"], figures["ended"]
    settled = began + (CHANGE if point.slots_later is not None else 0) + (SETTLING if seconds > 8 else 0)
    span = ended - settled
    taken = count_between(answers.taken, settled, ended)
    return {
        "samples_per_s": taken / span,
        "of_given": None if point.gives is None else taken / span / point.gives,
        "refused_per_s": count_between(answers.refused, settled, ended) / span,
        "refused_per_sample": len(answers.refused) / max(1, len(answers.taken)),
    }


def table(benchmark: Benchmark, peers: list[Peer], points: tuple[Point, ...]) -> Table:
    runs = benchmark.runs
    result = new_table(
        "Servers that refuse: medians, once settled",
        "the server",
        "client",
        "samples/s",
        "of what it gives",
        "429s a second",
        "429s a sample, in all",
    )
    for point in points:
        for peer in peers:
            result.add_row(
                point.name if peer is peers[0] else "",
                peer.name,
                cell(runs.median(peer, point, "samples_per_s")),
                cell(runs.median(peer, point, "of_given"), "{:.0%}"),
                cell(runs.median(peer, point, "refused_per_s"), "{:.1f}"),
                cell(runs.median(peer, point, "refused_per_sample"), "{:.3f}"),
            )
        result.add_section()
    return result


def bars(benchmark: Benchmark, peers: list[Peer]) -> list[Bar]:
    result = []
    for peer in (OURS, OURS_SIDECAR):
        result += [
            at_least(
                f"{peer.name}: {point.name}, used", wanted, benchmark.runs.median(peer, point, figure_), unit
            )
            for point, wanted, figure_, unit in (
                (SLOTS, 0.7, "of_given", ""),
                (BUCKET, 0.95, "of_given", ""),
                (MANY, 100, "samples_per_s", "/s"),
                (DOUBLES, 0.7, "of_given", ""),
                (HALVES, 0.7, "of_given", ""),
            )
        ]
        result += [
            at_most(
                f"{peer.name}: {point.name}, 429s a second",
                10,
                benchmark.runs.median(peer, point, "refused_per_s"),
            )
            for point in (SLOTS, DOUBLES, HALVES)
        ]
        result.append(
            at_most(
                f"{peer.name}: {SLOTS.name}, 429s a sample",
                0.3,
                benchmark.runs.median(peer, SLOTS, "refused_per_sample"),
            )
        )
        result += [
            at_most(
                f"{peer.name}: {point.name}, 429s a sample, times the official's",
                1.0,
                benchmark.runs.ratio(peer, OFFICIAL_NEW, point, "refused_per_sample"),
                "×",
            )
            # What is refused at random is the same share for everybody.
            for point in (SLOTS, BUCKET, DOUBLES, HALVES)
        ]
    return result


def plot(benchmark: Benchmark, peers: list[Peer], points: tuple[Point, ...]) -> None:
    runs = benchmark.runs
    height = 0.8 / len(peers)
    with figure(
        benchmark.plot, "What a throttling server gives, and what it refuses", 2, sharey=True
    ) as panels:
        for axes, name, label in (
            (panels[0], "samples_per_s", "samples/s"),
            (panels[1], "refused_per_sample", "429s a sample"),
        ):
            for index, peer in enumerate(peers):
                values = [runs.median(peer, point, name) or 0 for point in points]
                places = [row + (index + 0.5) * height - 0.4 for row in range(len(points))]
                axes.barh(places, values, height, color=peer.colour, label=peer.name)
            axes.set_xlabel(label)
            axes.set_xscale("symlog", linthresh=0.01 if name != "samples_per_s" else 10)
            axes.set_ylim(len(points) - 0.5, -0.5)
            axes.grid(visible=False, axis="y")
        panels[0].set_yticks(range(len(points)), [point.name for point in points])
        panels[0].figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)


if __name__ == "__main__":
    main()
