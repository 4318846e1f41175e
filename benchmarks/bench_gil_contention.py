"""Samples per second while graders, pure-Python threads, want the GIL.

512 requests of 512 prompt tokens are kept in flight, by a thread that blocks on each result (sync) or by a
task each (async). As control the same graders run in another process: what is lost there is lost to a
shortage of cores, what is lost beyond that to the GIL.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import NamedTuple

from harness.bars import Bar, at_least, at_most
from harness.benchmark import Benchmark
from harness.peers import (
    OFFICIAL,
    OFFICIAL_INSTALLED,
    OFFICIAL_NEW,
    OFFICIAL_SIDECAR,
    OURS,
    OURS_SIDECAR,
    Peer,
)
from harness.plots import figure, line, logarithmic
from harness.runs import Figures, least, scaled
from harness.tables import cell, microseconds, new_table, seconds, times, with_spread
from harness.workers import Worker, hogs_elsewhere
from rich.table import Table

MODES = ("sync", "async")
IN_FLIGHT = 512
ELSEWHERE = "in another process"


class Point(NamedTuple):
    mode: str
    hogs: int
    hogs_are: str = "in the program"


def main() -> None:
    benchmark = Benchmark("gil_contention", __doc__, also=(OFFICIAL_INSTALLED,))
    levels = (0, 4) if benchmark.quick else (0, 1, 2, 4, 8, 16)
    controls = (4,) if benchmark.quick else (4, 16)
    with benchmark.server("--latency", "0.05") as url:
        for number in benchmark.rounds(3):
            measure_round(benchmark, url, number, levels, controls)
    points = [Point(mode, hogs) for mode in modes(benchmark) for hogs in levels]
    benchmark.report([table(benchmark, points)], bars(benchmark))
    plot(benchmark, levels, controls)


def measure_round(
    benchmark: Benchmark, url: str, number: int, levels: tuple[int, ...], controls: tuple[int, ...]
) -> None:
    """The peers take turns at each point."""
    with ExitStack() as stack:
        workers = {peer: stack.enter_context(benchmark.worker(peer, url)) for peer in benchmark.peers}
        burst = 64 if benchmark.quick else IN_FLIGHT
        for worker in workers.values():
            # A first one opens the connections.
            benchmark.ask(worker, "throughput", mode="async", samples=burst, in_flight=burst)
        for mode in modes(benchmark):
            for hogs in controls:
                for peer, worker in workers.items():
                    if in_every_round(peer, hogs) and benchmark.in_full(peer):
                        with hogs_elsewhere(peer, hogs):
                            measure(benchmark, worker, peer, Point(mode, hogs, ELSEWHERE))
            for hogs in levels:
                for peer, worker in workers.items():
                    if number == 1 or in_every_round(peer, hogs):
                        measure(benchmark, worker, peer, Point(mode, hogs))


def in_every_round(peer: Peer, hogs: int) -> bool:
    """Points that a bar is about are measured again; the others take the official SDK too long."""
    return hogs in (0, 4) or (hogs == 16 and peer in (OURS, OURS_SIDECAR, OFFICIAL_INSTALLED))


def modes(benchmark: Benchmark) -> tuple[str, ...]:
    return MODES[:1] if benchmark.quick else MODES


def measure(benchmark: Benchmark, worker: Worker, peer: Peer, point: Point) -> None:
    """A run of about `seconds_of(point)`, and of a whole burst."""
    hogs = point.hogs if point.hogs_are != ELSEWHERE else 0

    def run(samples: int) -> Figures | None:
        settings = {"mode": point.mode, "samples": samples, "in_flight": IN_FLIGHT, "hogs": hogs}
        return benchmark.ask(worker, "throughput", **settings)

    if pace := benchmark.runs.median(peer, point, "samples_per_s"):
        figures = run(max(fewest(benchmark, peer, point), int(pace * seconds_of(point))))
    else:
        figures = run(fewest(benchmark, peer, point))
        if figures and figures["seconds"] < seconds_of(point) / 2 and not benchmark.quick:
            figures = run(max(IN_FLIGHT, int(figures["samples_per_s"] * seconds_of(point))))
    if figures:
        benchmark.runs.add(peer, point, figures)


def seconds_of(point: Point) -> float:
    """How long a run tells something: among more than four hogs a burst may take a second."""
    return 10.0 if point.hogs > 4 else 3.0


def fewest(benchmark: Benchmark, peer: Peer, point: Point) -> int:
    """The whole burst, except where that would take a client a minute or more.

    Two clients that are compared in a bar must have as much in flight: a smaller burst is over before it
    has come to a steady pace.
    """
    if benchmark.quick:
        return 64 if point.hogs == 0 else 16
    return IN_FLIGHT if point.hogs <= 4 or peer in (OURS_SIDECAR, OFFICIAL_INSTALLED) else 96


def table(benchmark: Benchmark, points: list[Point]) -> Table:
    runs = benchmark.runs
    result = new_table(
        "GIL contention: median (least–most); × is how many times as fast ours with the sidecar is",
        "graders",
        "client",
        "samples/s",
        "×",
        "of control",
        "p50",
        "p99",
        "in flight",
        "submitted in",
        "CPU/sample",
        "sidecar's",
        "grader keeps",
    )
    for point in points:
        for peer in benchmark.peers:
            result.add_row(
                f"{point.hogs}, {point.mode}" if peer is benchmark.peers[0] else "",
                peer.name,
                with_spread(runs, peer, point, "samples_per_s"),
                times(runs.ratio(OURS_SIDECAR, peer, point, "samples_per_s")),
                cell(kept(benchmark, peer, point), "{:.0%}"),
                *(seconds(runs.median(peer, point, name)) for name in ("p50_s", "p99_s")),
                cell(runs.median(peer, point, "in_flight")),
                seconds(runs.median(peer, point, "submit_s")),
                *(microseconds(runs.median(peer, point, f"{who}_cpu_us")) for who in ("client", "sidecar")),
                cell(runs.median(peer, point, "grader_keeps"), "{:.0%}"),
            )
        result.add_section()
    return result


def kept(benchmark: Benchmark, peer: Peer, point: Point) -> float | None:
    """What is left of the samples/s reached with the same graders in another process."""
    own = benchmark.runs.median(peer, point, "samples_per_s")
    control = benchmark.runs.median(peer, point._replace(hogs_are=ELSEWHERE), "samples_per_s")
    return own / control if own and control else None


def bars(benchmark: Benchmark) -> list[Bar]:
    runs = benchmark.runs
    judged = []
    for mode in modes(benchmark):
        idle, busy, swamped = Point(mode, 0), Point(mode, 4), Point(mode, 16)

        def kept_percent(point: Point) -> float | None:
            return scaled(kept(benchmark, OURS_SIDECAR, point), 100)

        def faster(than: Peer, point: Point, own: Peer = OURS_SIDECAR) -> float | None:
            return runs.ratio(own, than, point, "samples_per_s")

        judged += [
            at_least(
                f"{mode}, no hog: times the best official mode",
                10,
                least(faster(peer, idle) for peer in (OFFICIAL, OFFICIAL_SIDECAR, OFFICIAL_NEW)),
                "×",
            ),
            at_most(
                f"{mode}, no hog: client CPU a sample",
                20,
                runs.median(OURS_SIDECAR, idle, "client_cpu_us"),
                " µs",
            ),
            at_least(
                f"{mode}, no hog: the official sidecar's client CPU a sample, times ours",
                93 / 20,  # What the bar above says, on whatever machine.
                runs.ratio(OFFICIAL_SIDECAR, OURS_SIDECAR, idle, "client_cpu_us"),
                "×",
            ),
            at_least(
                f"{mode}, no hog, in process: times the best official in process",
                5,
                least(faster(peer, idle, OURS) for peer in (OFFICIAL, OFFICIAL_NEW)),
                "×",
            ),
            at_least(f"{mode}, 4 hogs: times the official sidecar", 15, faster(OFFICIAL_SIDECAR, busy), "×"),
            at_least(f"{mode}, 4 hogs: times 0.38.0", 40, faster(OFFICIAL_NEW, busy), "×"),
            at_least(f"{mode}, 4 hogs: kept of control", 95, kept_percent(busy), " %"),
            at_least(
                f"{mode}, 16 hogs: kept of control",
                85,
                kept_percent(swamped),
                " %",
            ),
            *(
                at_least(
                    f"{mode}, {point.hogs} hogs, 0.38.0 in our sidecar: of our native speed-up",
                    50,
                    scaled(faster(OURS_SIDECAR, point, OFFICIAL_INSTALLED), 100),
                    " %",
                )
                for point in (idle, busy, swamped)
            ),
            at_most(
                f"{mode}, 4 hogs: a burst of 512 calls",
                50,
                scaled(runs.median(OURS_SIDECAR, busy, "submit_s"), 1e3),
                " ms",
            ),
        ]
    return judged


def plot(benchmark: Benchmark, levels: tuple[int, ...], controls: tuple[int, ...]) -> None:
    shown = modes(benchmark)
    ratio = least(
        benchmark.runs.ratio(OURS_SIDECAR, OFFICIAL_SIDECAR, Point(mode, 4), "samples_per_s")
        for mode in shown
    )
    title = f"Sampling while 4 Python threads grade: {times(ratio)} the official sidecar"
    names = [str(hogs) for hogs in levels]
    with figure(benchmark.plot, title, len(shown), sharey=True) as panels:
        for axes, mode in zip(panels, shown, strict=True):
            for peer in benchmark.peers:
                rates = [benchmark.runs.median(peer, Point(mode, hogs), "samples_per_s") for hogs in levels]
                line(axes, peer, names, rates)
            control = [
                benchmark.runs.median(OURS_SIDECAR, Point(mode, hogs, ELSEWHERE), "samples_per_s")
                for hogs in controls
            ]
            line(
                axes,
                OURS_SIDECAR,
                [str(hogs) for hogs in controls],
                control,
                linestyle="",
                marker="_",
                markersize=22,
                markeredgewidth=3,
                color="black",
                label="ours, graders in another process",
            )
            logarithmic(axes, y=True)
            axes.set_title(f"{mode} callers", loc="left")
            axes.set_xlabel("grading threads in the program")
        panels[0].set_ylabel("samples/s (log scale)")
        panels[0].figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)


if __name__ == "__main__":
    main()
