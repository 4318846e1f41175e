"""From `import` to the first sample, and what is in memory at rest and with requests in flight.

"Ready" is `ServiceClient()` and `create_sampling_client()` together: with a sidecar, its spawn and handshake
and the calls that open a session, so an upper bound of the spawn alone.
"""

from __future__ import annotations

import json
import subprocess
import time
from typing import NamedTuple

from harness.bars import Bar, at_most
from harness.benchmark import Benchmark
from harness.peers import OURS_SIDECAR, Peer
from harness.plots import bars_across, figure
from harness.runs import Figures, scaled
from harness.tables import cell, new_table, with_spread
from harness.workers import worker_command
from rich.table import Table


class Point(NamedTuple):
    in_flight: int


def main() -> None:
    benchmark = Benchmark("startup", __doc__)
    point = Point(100 if benchmark.quick else 2000)
    # Long enough for all requests to be in flight before the first is answered.
    slow = "0.3" if benchmark.quick else "3"
    with benchmark.server("--latency", "0") as url, benchmark.server("--latency", slow) as slow_url:
        for _ in benchmark.rounds(2):
            for peer in benchmark.peers:
                start_up(benchmark, peer, url, point)
                if benchmark.in_full(peer):
                    fill(benchmark, peer, slow_url, point)
    benchmark.report([table(benchmark, point)], bars(benchmark, point))
    plot(benchmark, point)


def start_up(benchmark: Benchmark, peer: Peer, url: str, point: Point) -> None:
    with benchmark.worker(peer, url) as worker:
        figures = benchmark.measure(worker, peer, point, "start_up")
        time.sleep(0.5)  # At rest, not on the way there.
        if figures:
            client, sidecar = worker.memory()
            figures |= {"client_rest_mb": client, "sidecar_rest_mb": sidecar, **imported(peer)}


def imported(peer: Peer) -> Figures:
    """In a process that has imported nothing before."""
    command, folder = worker_command(peer, "harness.worker.importing", peer.module)
    figures: Figures = json.loads(subprocess.check_output(command, cwd=folder))
    return figures


def fill(benchmark: Benchmark, peer: Peer, url: str, point: Point) -> None:
    with benchmark.worker(peer, url) as worker:
        worker.ask("connect")
        at_rest = worker.memory()
        figures = benchmark.measure(worker, peer, point, "in_flight_memory", requests=point.in_flight)
        if figures:
            growth = [peak - rest for peak, rest in zip(worker.peak_memory(), at_rest, strict=True)]
            thousands = point.in_flight / 1000
            figures |= {"client_mb": growth[0] / thousands, "sidecar_mb": growth[1] / thousands}


def table(benchmark: Benchmark, point: Point) -> Table:
    runs = benchmark.runs
    result = new_table(
        "Start-up and memory: median (least–most)",
        "client",
        "import, ms",
        "import, MB",
        "ready, ms",
        "first sample, ms",
        "client at rest, MB",
        "sidecar at rest, MB",
        "1,000 in flight: client, MB",
        "sidecar, MB",
    )
    for peer in benchmark.peers:
        result.add_row(
            peer.name,
            milliseconds(benchmark, peer, point, "import_s"),
            with_spread(runs, peer, point, "import_mb"),
            milliseconds(benchmark, peer, point, "ready_s"),
            milliseconds(benchmark, peer, point, "first_sample_s"),
            *(
                cell(runs.median(peer, point, name), form)
                for name, form in (
                    ("client_rest_mb", "{:,.0f}"),
                    ("sidecar_rest_mb", "{:,.0f}"),
                    ("client_mb", "{:,.1f}"),
                    ("sidecar_mb", "{:,.1f}"),
                )
            ),
        )
    return result


def milliseconds(benchmark: Benchmark, peer: Peer, point: Point, name: str) -> str:
    values = sorted(1e3 * value for value in benchmark.runs.values(peer, point, name))
    middle = scaled(benchmark.runs.median(peer, point, name), 1e3)
    return f"{cell(middle)} ({values[0]:,.0f}–{values[-1]:,.0f})" if values else "—"


def bars(benchmark: Benchmark, point: Point) -> list[Bar]:
    def median(name: str, factor: float = 1.0) -> float | None:
        return scaled(benchmark.runs.median(OURS_SIDECAR, point, name), factor)

    return [
        at_most("import tinker_client", 60, median("import_s", 1e3), " ms"),
        at_most("sidecar and client ready", 250, median("ready_s", 1e3), " ms"),
        at_most("sidecar at rest", 60, median("sidecar_rest_mb"), " MB"),
    ]


def plot(benchmark: Benchmark, point: Point) -> None:
    panels = {"import_s": "import", "first_sample_s": "from there to the first sample"}
    with figure(benchmark.plot, "From nothing to the first sample", len(panels), sharey=True) as axes_of:
        for axes, (name, title) in zip(axes_of, panels.items(), strict=True):
            medians = {peer: benchmark.runs.median(peer, point, name) for peer in benchmark.peers}
            bars_across(axes, {peer: 1e3 * value for peer, value in medians.items() if value}, "{:,.0f} ms")
            axes.set_title(title, loc="left")
            axes.set_xlabel("ms")


if __name__ == "__main__":
    main()
