"""From 1 to 1,000 samplers in one program: the same 4,000 requests in flight, whoever's they are.

So are an evaluation of many checkpoints, or a loop that makes a new sampler each step. The server's log tells
how often it was polled and how many polls it had to hold at once. A client may use 1,024 descriptors, or 256,
in the last two points. The thousand samplers are then left alone for half a minute, and closed, to see what
is given back.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from operator import truediv
from statistics import median
from typing import NamedTuple

import psutil
from harness.bars import Bar, at_least, at_most
from harness.benchmark import Benchmark
from harness.peers import OFFICIAL_NEW, OURS, OURS_SIDECAR, Peer
from harness.plots import figure, line, logarithmic
from harness.runs import Figures
from harness.tables import cell, microseconds, new_table, seconds, times, with_spread
from harness.workers import Held, Worker
from rich.table import Table

PEERS = (OFFICIAL_NEW, OURS, OURS_SIDECAR)
IN_FLIGHT = 4000
MOST = 1000
REST = 30.0
ROUNDS, ROUNDS_OF_OTHERS = 3, 2
TURNS = 3
"""Sweeps of one sampler, and of all, in each round."""
STALL = 5.0
"""Seconds without a result, at a server that takes 50 ms for one."""


class Point(NamedTuple):
    samplers: int
    descriptors: int = 0
    """How many the program may have. 0: as many as it likes."""

    @property
    def name(self) -> str:
        allowed = f", {self.descriptors:,} descriptors" if self.descriptors else ""
        return f"{self.samplers:,}{allowed}"


ONE, ALL = Point(1), Point(MOST)
OTHERS = (Point(10), Point(100), Point(MOST, 1024), Point(MOST, 256))


class Client(NamedTuple):
    """A program that has its samplers open, and a server of its own, whose log begins with it."""

    point: Point
    worker: Worker
    url: str
    opened: Figures
    at_first: Held


def main() -> None:
    benchmark = Benchmark("samplers", __doc__)
    peers = [peer for peer in PEERS if peer in benchmark.peers and benchmark.in_full(peer)]
    together, in_flight = [[ONE, ALL], *([point] for point in OTHERS)], IN_FLIGHT
    if benchmark.quick:
        together, in_flight = [[ONE, Point(100)], [Point(100, 256)]], 400
    for number in benchmark.rounds(ROUNDS):
        for points in together:
            for peer in peers:
                if not (peer.version and number > ROUNDS_OF_OTHERS):
                    measure(benchmark, peer, points, in_flight, rests=number == 1)
    points = sorted(point for points in together for point in points)
    tables = [speed(benchmark, peers, points)]
    if ALL in points:
        tables.append(held(benchmark, peers))
    benchmark.report(tables, bars(benchmark))
    plot(benchmark, peers, [point for point in points if not point.descriptors])


def measure(benchmark: Benchmark, peer: Peer, points: list[Point], in_flight: int, *, rests: bool) -> None:
    """Sweep at these points, by turns if they are several: a machine may be faster a minute later."""
    # Until the first ones are answered, and when none follow, it is not the same requests in flight.
    samples = in_flight if peer.version else 8 * in_flight
    turns = TURNS if len(points) > 1 and not peer.version else 1
    with ExitStack() as stack:
        clients = [client for point in points if (client := open_client(benchmark, peer, point, stack))]
        for turn in range(turns):
            for client in list(clients):
                figures = sweep(benchmark, client, samples, in_flight)
                if figures is None:
                    clients.remove(client)
                    continue
                if rests and client.point == ALL and turn == turns - 1:
                    figures |= rest(benchmark, client)
                benchmark.runs.add(peer, client.point, figures)


def open_client(benchmark: Benchmark, peer: Peer, point: Point, stack: ExitStack) -> Client | None:
    """One that is ready to sweep, until `stack` is closed; None if it failed."""
    url = stack.enter_context(benchmark.server("--latency", "0.05"))
    worker = stack.enter_context(benchmark.worker(peer, url))
    settings = {"count": point.samplers, "descriptors": point.descriptors or None}
    opened = benchmark.ask(worker, "open_samplers", **settings)
    return None if opened is None else Client(point, worker, url, opened, worker.held())


def sweep(benchmark: Benchmark, client: Client, samples: int, in_flight: int) -> Figures | None:
    """What a sweep takes, and what the server saw of it; None if the client failed."""
    with most_held(client.worker) as most:
        figures = benchmark.ask(client.worker, "sweep", samples=samples, in_flight=in_flight)
    if figures is not None:
        figures |= client.opened | exchanges(client.url) | _named("peak", most[0])
        figures["cpu_us"] = figures["client_cpu_us"] + figures["sidecar_cpu_us"]
    return figures


def rest(benchmark: Benchmark, client: Client) -> Figures:
    """What it has after half a minute without requests, and then after another without samplers."""
    time.sleep(REST)
    figures = _named("first", client.at_first) | _named("idle", client.worker.held())
    benchmark.ask(client.worker, "close_samplers")
    time.sleep(REST)
    return figures | _named("closed", client.worker.held())


def _named(when: str, held: Held) -> Figures:
    return {f"{when}_{name}": value for name, value in held._asdict().items()}


@contextmanager
def most_held(worker: Worker) -> Iterator[list[Held]]:
    """The most that the program and its sidecar have within the block, as the one item of a list."""
    most = [worker.held()]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            try:
                most[0] = Held(*map(max, most[0], worker.held()))
            except psutil.Error:  # The worker has failed, which is told elsewhere.
                return

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield most
    finally:
        over.set()
        watching.join()


def exchanges(url: str) -> Figures:
    """What the server saw: polls per sample, and the most of them it had to hold at once."""
    with urllib.request.urlopen(f"{url}/local/requests") as response:
        log = json.load(response)
    routes = Counter(request["route"] for request in log["requests"])
    return {
        "polls_per_sample": routes["retrieve_futures"] / routes["asample"],
        "most_polls": log["most_at_once"].get("retrieve_futures", 0),
    }


def speed(benchmark: Benchmark, peers: list[Peer], points: list[Point]) -> Table:
    runs = benchmark.runs
    table = new_table(
        "Many samplers, the same load: median (least–most); polls a sample, and the most at once",
        "samplers",
        "client",
        "samples/s",
        "of one's",
        "× official",
        "CPU/sample",
        "polls each",
        "at once",
        "longest gap",
        "opened in",
    )
    for point in points:
        for peer in peers:
            part = part_of_one(benchmark, peer, point)
            table.add_row(
                point.name if peer is peers[0] else "",
                peer.name,
                with_spread(runs, peer, point, "samples_per_s"),
                cell(part, "{:.0%}"),
                times(runs.ratio(peer, OFFICIAL_NEW, point, "samples_per_s")),
                microseconds(runs.median(peer, point, "cpu_us")),
                cell(runs.median(peer, point, "polls_per_sample"), "{:.2f}"),
                cell(runs.median(peer, point, "most_polls")),
                seconds(runs.median(peer, point, "longest_gap_s")),
                seconds(runs.median(peer, point, "open_s")),
            )
        table.add_section()
    return table


def held(benchmark: Benchmark, peers: list[Peer]) -> Table:
    """Of the program and its sidecar together. A connection is a descriptor."""
    table = new_table(
        f"What {MOST:,} samplers take of the machine: descriptors, threads, MB",
        "client",
        "opened",
        "at the peak",
        f"idle for {REST:.0f} s",
        f"closed for {REST:.0f} s",
    )
    for peer in peers:
        cells = [
            " · ".join(cell(benchmark.runs.median(peer, ALL, f"{when}_{what}")) for what in Held._fields)
            for when in ("first", "peak", "idle", "closed")
        ]
        table.add_row(peer.name, *cells)
    return table


def part_of_one(benchmark: Benchmark, peer: Peer, point: Point) -> float | None:
    """Of the sweep just before, where they took turns."""
    ones, here = (benchmark.runs.values(peer, at, "samples_per_s") for at in (ONE, point))
    if not ones or not here:
        return None
    if len(ones) != len(here):
        return median(here) / median(ones)
    return median(map(truediv, here, ones))


def bars(benchmark: Benchmark) -> list[Bar]:
    runs = benchmark.runs
    result: list[Bar] = []
    for peer in (OURS, OURS_SIDECAR):
        part = part_of_one(benchmark, peer, ALL)
        result += [
            at_least(f"{peer.name}, {MOST:,} samplers: samples/s, part of one's", 0.8, part),
            at_most(
                f"{peer.name}, {MOST:,} samplers: polls at once",
                280,  # Of 256, when the next comes before the server notices that another has ended.
                runs.median(peer, ALL, "most_polls"),
            ),
        ]
        for descriptors in (1024, 256):
            gaps = runs.values(peer, Point(MOST, descriptors), "longest_gap_s")
            what = f"{peer.name}, {MOST:,} samplers, {descriptors:,} descriptors: longest gap"
            result.append(at_most(what, STALL, max(gaps, default=None), " s"))
        for what, wanted in (("descriptors", 16), ("threads", 8)):
            for when in ("idle", "closed"):
                at, before = (runs.median(peer, ALL, f"{moment}_{what}") for moment in (when, "first"))
                more = at - before if at is not None and before is not None else None
                bar = f"{peer.name}, {MOST:,} samplers, {when} for {REST:.0f} s: {what} more than at first"
                result.append(at_most(bar, wanted, more))
    # In process what is freed stays with the program, in blocks of Python's of which some part is in use.
    what = f"{OURS_SIDECAR.name}, {MOST:,} samplers, closed for {REST:.0f} s: part of their memory given back"
    result.append(at_least(what, 1.0, given_back(benchmark, OURS_SIDECAR)))
    return result


def given_back(benchmark: Benchmark, peer: Peer) -> float | None:
    """Of what the program and its sidecar had more at the peak than before the first request: 1 is all."""
    when = ("first", "peak", "closed")
    first, peak, closed = (benchmark.runs.median(peer, ALL, f"{moment}_memory_mb") for moment in when)
    if first is None or peak is None or closed is None:
        return None
    return (peak - closed) / (peak - first)


def plot(benchmark: Benchmark, peers: list[Peer], points: list[Point]) -> None:
    title = f"{IN_FLIGHT:,} requests in flight, of one sampler or of many"
    with figure(benchmark.plot, title, 2) as [rate, polls]:
        for axes, name in ((rate, "samples_per_s"), (polls, "polls_per_sample")):
            for peer in peers:
                values = [benchmark.runs.median(peer, point, name) for point in points]
                line(axes, peer, [point.samplers for point in points], values)
            logarithmic(axes, x=True, y=axes is rate)
            axes.set_xlabel("samplers in the program")
        rate.set_ylabel("samples per second")
        polls.set_ylabel("polls per sample")
        rate.figure.legend(*rate.get_legend_handles_labels(), loc="outside lower center", ncols=3)


if __name__ == "__main__":
    main()
