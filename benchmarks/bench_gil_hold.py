"""One C call holds the GIL for 30 s right after 256 submissions.

Heartbeats and completions are as the server saw them. The call sleeps, so holding the GIL costs no CPU and
the peers can take their turns a few seconds apart instead of half a minute.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from typing import NamedTuple

from harness.bars import Bar, at_least, at_most
from harness.benchmark import Benchmark
from harness.journal import Session, read_journal
from harness.peers import OFFICIAL_INSTALLED, OURS_SIDECAR, Peer
from harness.plots import figure
from harness.runs import Figures, scaled
from harness.tables import cell, new_table, seconds
from harness.workers import Worker
from matplotlib.axes import Axes
from rich.table import Table

HEARTBEAT = "#b3122e"


class Point(NamedTuple):
    requests: int
    hold_s: float


def main() -> None:
    benchmark = Benchmark("gil_hold", __doc__, also=(OFFICIAL_INSTALLED,))
    point = Point(256, 1.0 if benchmark.quick else 30.0)
    with benchmark.server("--latency", "0.05") as url:
        for _ in benchmark.rounds(2):
            measure_round(benchmark, url, point)
    benchmark.report([table(benchmark, point)], bars(benchmark, point))
    plot(benchmark, point)


def measure_round(benchmark: Benchmark, url: str, point: Point) -> None:
    with ExitStack() as stack:
        workers = {peer: stack.enter_context(benchmark.worker(peer, url)) for peer in benchmark.peers}
        # Left first: it waits for the workers to answer.
        pool = stack.enter_context(ThreadPoolExecutor(len(workers)))
        holds: dict[Peer, tuple[str, Future[Figures | None]]] = {}
        for peer, worker in workers.items():
            session_id = connect(worker, url)
            settings = {"requests": point.requests, "seconds": point.hold_s}
            hold = pool.submit(benchmark.measure, worker, peer, point, "gil_hold", **settings)
            holds[peer] = (session_id, hold)
            # Enough for the slowest to submit, and later to drain, before the next one does.
            time.sleep(1 if benchmark.quick else 3)
        for session_id, hold in holds.values():
            if figures := hold.result():
                figures.update(as_the_server_saw(read_journal(url)[session_id], figures))


def connect(worker: Worker, url: str) -> str:
    """The session in which the worker samples."""
    before = set(read_journal(url))
    worker.ask("start_up")
    [session_id] = [
        name for name, session in read_journal(url).items() if name not in before and session.completed
    ]
    return session_id


def as_the_server_saw(session: Session, run: Figures) -> Figures:
    """Times are seconds since the GIL was taken."""
    start, end = run["held_from"], run["held_until"]
    completed = [moment for moment in session.completed if moment >= run["submitting"]]
    signs_of_life = [session.created, *session.heartbeats, run["drained"]]
    return {
        "held_s": end - start,
        "completed_meanwhile": sum(moment <= end for moment in completed),
        "longest_gap_s": max(later - earlier for earlier, later in pairwise(signs_of_life)),
        "drain_s": run["drained"] - end,
        "completed_at_s": [moment - start for moment in completed],
        "heartbeats_at_s": [moment - start for moment in session.heartbeats],
    }


def table(benchmark: Benchmark, point: Point) -> Table:
    runs = benchmark.runs
    result = new_table(
        f"A C call holds the GIL for {point.hold_s:g} s after {point.requests} calls: worst of the rounds",
        "client",
        "longest heartbeat gap",
        "done on the server meanwhile",
        "drained after",
    )
    for peer in benchmark.peers:
        result.add_row(
            peer.name,
            seconds(max(runs.values(peer, point, "longest_gap_s"), default=None)),
            cell(min(runs.values(peer, point, "completed_meanwhile"), default=None)),
            seconds(max(runs.values(peer, point, "drain_s"), default=None)),
        )
    return result


def bars(benchmark: Benchmark, point: Point) -> list[Bar]:
    gaps, done, drains = (
        benchmark.runs.values(OURS_SIDECAR, point, name)
        for name in ("longest_gap_s", "completed_meanwhile", "drain_s")
    )
    return [
        at_most("longest heartbeat gap", 11, max(gaps, default=None), " s"),
        at_most(
            "longest heartbeat gap, 0.38.0 in our sidecar",
            11,
            max(benchmark.runs.values(OFFICIAL_INSTALLED, point, "longest_gap_s"), default=None),
            " s",
        ),
        at_least("requests done on the server meanwhile", 256, min(done, default=None)),
        at_most("drained after", 200, scaled(max(drains, default=None), 1e3), " ms"),
    ]


def plot(benchmark: Benchmark, point: Point) -> None:
    peers = benchmark.peers[::-1]
    with figure(benchmark.plot, f"The GIL is held for {point.hold_s:g} s: who goes on?") as [axes]:
        axes.axvspan(0, point.hold_s, color="#f4e0b5", zorder=0)
        axes.set_title("shaded: the GIL is held", loc="left")
        for row, peer in enumerate(peers):
            for run in benchmark.runs.figures(peer, point)[-1:]:
                draw_run(axes, row, peer, run)
        axes.plot([], [], "|", color="black", markersize=12, label="request done")
        axes.plot([], [], "v", color=HEARTBEAT, label="heartbeat, as the server saw it")
        axes.set_yticks(range(len(peers)), [peer.name for peer in peers])
        axes.set_xlim(-1.5, 1.3 * point.hold_s)
        axes.set_xlabel("seconds since the GIL was taken")
        axes.grid(visible=False)
        axes.figure.legend(loc="outside lower center", ncols=2)


def draw_run(axes: Axes, row: int, peer: Peer, run: Figures) -> None:
    """A line for each completion, a triangle for each heartbeat, both as the server saw them."""
    completed, heartbeats = run["completed_at_s"], run["heartbeats_at_s"]
    axes.vlines(completed, row - 0.3, row + 0.05, color=peer.colour, linewidth=1)
    axes.plot(heartbeats, [row + 0.25] * len(heartbeats), "v", color=HEARTBEAT)
    note = f"{run['completed_meanwhile']} of {len(completed)} done during the hold"
    axes.text(run["held_s"] / 2, row - 0.12, note, ha="center", va="center")


if __name__ == "__main__":
    main()
