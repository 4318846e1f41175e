"""Big prompts and big results: samples per second, MB per second, CPU and memory.

A burst of requests is submitted, all results are kept, and none is read until after the measurement. MB are
those of the arrays themselves: 4 bytes a prompt token, 8 a sampled token with its logprob, 8 a top-k entry.
"ours, portable" does without what only Linux has, as on a Mac: large results are sent, not lent.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from harness.bars import Bar, at_most
from harness.benchmark import Benchmark
from harness.peers import OURS_PORTABLE, OURS_SIDECAR, Peer
from harness.plots import figure, logarithmic
from harness.runs import scaled
from harness.tables import cell, new_table, times, with_spread
from rich.table import Table

MAX_TOKENS = 128


class Point(NamedTuple):
    name: str
    prompt_tokens: int
    num_samples: int
    topk_prompt_logprobs: int
    requests: int

    @property
    def result_mb(self) -> float:
        """A result's."""
        topk = self.topk_prompt_logprobs
        prompt_bytes = self.prompt_tokens * (8 * topk + 4) if topk else 0
        return (prompt_bytes + self.num_samples * MAX_TOKENS * 8) / 1e6

    @property
    def moved_mb(self) -> float:
        """Of all requests and results."""
        return self.requests * (4 * self.prompt_tokens / 1e6 + self.result_mb)


TOP_20 = Point("32k, top-20", 32_768, 1, 20, 32)
POINTS = (
    Point("1k", 1024, 1, 0, 512),
    Point("1k, 64 samples", 1024, 64, 0, 128),
    Point("8k", 8192, 1, 0, 256),
    Point("32k", 32_768, 1, 0, 128),
    TOP_20,
    Point("128k", 131_072 - MAX_TOKENS, 1, 0, 48),
)


def main() -> None:
    benchmark = Benchmark("payloads", __doc__, also=(OURS_PORTABLE,))
    points = [point._replace(requests=8) for point in (TOP_20,)] if benchmark.quick else [*POINTS]
    with benchmark.server("--latency", "0.05") as url:
        for _ in benchmark.rounds(2):
            for point in points:
                for peer in benchmark.peers:
                    measure(benchmark, peer, url, point)
    benchmark.report([table(benchmark, points)], bars(benchmark))
    plot(benchmark, points)


def measure(benchmark: Benchmark, peer: Peer, url: str, point: Point) -> None:
    """In a fresh process: a peak is for life."""
    settings = point._asdict()
    del settings["name"]
    with benchmark.worker(peer, url) as worker:
        worker.ask("connect")
        _, at_rest = worker.memory()
        figures = benchmark.measure(worker, peer, point, "payload", **settings)
        if figures:
            figures["sidecar_peak_mb"] = worker.peak_memory()[1] - at_rest if peer.sidecar else 0.0
            figures["mb_per_s"] = point.moved_mb / figures["seconds"]
            held = point.requests * point.result_mb
            figures["client_peak_ratio"] = figures["client_peak_mb"] / held
            figures["peak_ratio"] = (figures["client_peak_mb"] + figures["sidecar_peak_mb"]) / held


def table(benchmark: Benchmark, points: list[Point]) -> Table:
    runs = benchmark.runs
    result = new_table(
        "Payloads: median (least–most); × is how many times as fast ours with the sidecar is",
        "prompt",
        "client",
        "requests/s",
        "×",
        "MB/s",
        "client CPU/request",
        "sidecar's",
        "held, MB",
        "client's peak, MB",
        "sidecar's",
    )
    for point in points:
        for peer in benchmark.peers:
            result.add_row(
                point.name if peer is benchmark.peers[0] else "",
                peer.name,
                with_spread(runs, peer, point, "samples_per_s"),
                times(runs.ratio(OURS_SIDECAR, peer, point, "samples_per_s")),
                cell(runs.median(peer, point, "mb_per_s"), "{:,.1f}"),
                *(
                    cell(scaled(runs.median(peer, point, f"{who}_cpu_us"), 1e-3), "{:,.2f} ms")
                    for who in ("client", "sidecar")
                ),
                cell(point.requests * point.result_mb, "{:,.1f}"),
                *(
                    cell(runs.median(peer, point, f"{who}_peak_mb"), "+{:,.0f}")
                    for who in ("client", "sidecar")
                ),
            )
        result.add_section()
    return result


def bars(benchmark: Benchmark) -> list[Bar]:
    runs = benchmark.runs
    return [
        at_most(
            "32k, top-20: client CPU a response",
            1,
            scaled(runs.median(OURS_SIDECAR, TOP_20, "client_cpu_us"), 1e-3),
            " ms",
        ),
        at_most(
            "32k, top-20: the client's peak memory, times what it holds",
            1.3,
            runs.median(OURS_SIDECAR, TOP_20, "client_peak_ratio"),
            "×",
        ),
        at_most(
            "32k, top-20: both processes' peak memory, times what is held",
            1.3,
            runs.median(OURS_SIDECAR, TOP_20, "peak_ratio"),
            "×",
        ),
    ]


def plot(benchmark: Benchmark, points: list[Point]) -> None:
    height = 0.8 / len(benchmark.peers)
    with figure(benchmark.plot, "What a request costs the program itself, by payload") as [axes]:
        for index, peer in enumerate(benchmark.peers):
            cpu = [scaled(benchmark.runs.median(peer, point, "client_cpu_us"), 1e-3) or 0 for point in points]
            axes.barh(
                np.arange(len(points)) + index * height, cpu, height, color=peer.colour, label=peer.name
            )
        axes.set_yticks(np.arange(len(points)) + 0.4 - height / 2, [point.name for point in points])
        axes.invert_yaxis()
        logarithmic(axes, x=True)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("CPU of the user's process per request, ms (log scale)")
        axes.set_ylabel("prompt tokens")
        axes.figure.legend(loc="outside lower center", ncols=3)


if __name__ == "__main__":
    main()
