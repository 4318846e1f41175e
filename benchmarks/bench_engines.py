"""How many samples a second the local server's engines give, with 1, 16 and 64 requests at once.

Each request is another one, of 64 prompt tokens and up to 32 back. `sim` does next to nothing, so it shows
what server and client can do. `transformers` has the weights of `tiny`; it is measured where torch is
installed, as in the environment that `make engines` makes. What is replayed was recorded of `sim` here, and
lies among a million results of other requests; the server's memory is that after the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec
import psutil
from harness.bars import Bar, at_least, at_most
from harness.benchmark import Benchmark
from harness.peers import OURS_SIDECAR
from harness.plots import figure, logarithmic
from harness.tables import cell, microseconds, new_table, with_spread
from rich.table import Table

from tinker_client.local_server import start_local_server
from tinker_sidecar.engine.requests import EncodedSpec
from tinker_sidecar.ipc.protocol import PackedParams, PackedSequence, PackedText, RequestSpec, SampleResult
from tinker_sidecar.recording.record_writer import Record, RecordWriter
from tools.served_engines import ENGINES as KNOWN
from tools.tiny_for_transformers import save_tiny_model

MODEL = Path(__file__).parents[1] / "out" / "bench" / "tiny-for-transformers"
"""The tiny model as transformers loads it."""
AT_ONCE = (1, 16, 64)
LONG = 3.0
"""Seconds: about how long a run is."""
MOST = 16_384
"""Requests of a run: as many are recorded."""
OTHERS = 1_000_000
"""Results that the recording has besides."""
OF_SIM = 0.8
"""What a replay must reach of `sim`'s samples a second."""
MORE_MB = 32
"""What the replaying server may have more of than the one with `sim`, however long the recording is."""


class Engine(NamedTuple):
    """`options` start a server with it, given the folder of a recording."""

    name: str
    model: str
    options: Callable[[Path], list[str]]
    samples_per_s: float
    """About, at first: how long a run is depends on it."""


ENGINES = (
    Engine("tiny", "tinker-sidecar/tiny-arithmetic", lambda _: ["tiny"], 30),
    Engine("sim", "tinker-sidecar/sim", lambda _: ["sim", "--latency", "0"], 1000),
    Engine("transformers", str(MODEL), lambda _: ["transformers", "--model", str(MODEL)], 10),
    Engine("replay", "tinker-sidecar/sim", lambda folder: ["replay", "--from", str(folder)], 1000),
)


class Point(NamedTuple):
    engine: str
    in_flight: int


def main() -> None:
    benchmark = Benchmark("engines", __doc__, among=(OURS_SIDECAR,))
    engines = installed()
    with TemporaryDirectory(prefix="engines-") as name:
        folder = Path(name)
        record(benchmark, folder)
        at_once = (16,) if benchmark.quick else AT_ONCE
        for _ in benchmark.rounds(3):
            for in_flight in at_once:
                for engine in engines:
                    measure(benchmark, engine, folder, Point(engine.name, in_flight))
    benchmark.report([table(benchmark, at_once, engines)], bars(benchmark))
    plot(benchmark, engines)


def installed() -> list[Engine]:
    """Without those that cannot be served here."""
    reasons = {engine.name: KNOWN[engine.name].missing() for engine in ENGINES}
    for name, reason in reasons.items():
        if reason is not None:
            print(f"engines: {name} is left out: {reason}")
    if reasons["transformers"] is None:
        save_tiny_model(MODEL)
    return [engine for engine in ENGINES if reasons[engine.name] is None]


def record(benchmark: Benchmark, folder: Path) -> None:
    """All that will be asked, as the client records it, and among that the results of other requests."""
    most = 64 if benchmark.quick else MOST
    with closing(start_local_server("sim", "--latency", "0")) as server:
        variables = {"BENCHMARK_MODEL": ENGINES[1].model, "TINKER_SIDECAR_RECORD": str(folder)}
        with benchmark.worker(OURS_SIDECAR, server.base_url, **variables) as worker:
            benchmark.ask(worker, "sample_engine", samples=most, in_flight=64)
    fill(folder, 1000 if benchmark.quick else OTHERS)


def fill(folder: Path, count: int) -> None:
    """Add `count` results of 32 tokens, to requests that nobody asks for."""
    writer = RecordWriter(folder, 1 << 40)
    params = PackedParams(max_tokens=32, seed=2, stop=None, temperature=1.0, top_k=-1, top_p=1.0)
    cells = memoryview(bytes(32 * 4))
    result = msgspec.msgpack.encode(SampleResult([PackedSequence("length", "", cells, cells)]))
    for number in range(count):
        prompt = memoryview(number.to_bytes(4, "little") * 64)
        body = EncodedSpec(RequestSpec(0, len(prompt), [PackedText(prompt)], 1, params)).json()
        writer.add(Record(body, ENGINES[1].model, asked=number, took=0.1, origin=f"{number}", result=result))
        while writer.waiting > 1 << 20:
            time.sleep(0.001)
    writer.close()


def measure(benchmark: Benchmark, engine: Engine, folder: Path, point: Point) -> None:
    pace = benchmark.runs.median(OURS_SIDECAR, point, "samples_per_s") or engine.samples_per_s
    samples = 32 if benchmark.quick else max(64, min(MOST, int(pace * LONG)))
    with closing(start_local_server(*engine.options(folder))) as server:
        server_process = psutil.Process(server.pid)
        with benchmark.worker(OURS_SIDECAR, server.base_url, BENCHMARK_MODEL=engine.model) as worker:
            settings = {"samples": samples, "in_flight": point.in_flight}
            before = cpu_seconds(server_process)
            figures = benchmark.measure(worker, OURS_SIDECAR, point, "sample_engine", **settings)
        if figures is not None:
            figures["server_cpu_us"] = (cpu_seconds(server_process) - before) / samples * 1e6
            figures["server_mb"] = server_process.memory_info().rss / 1e6


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def table(benchmark: Benchmark, at_once: tuple[int, ...], engines: list[Engine]) -> Table:
    runs = benchmark.runs
    result = new_table(
        "What the engines give: median (least–most)",
        "at once",
        "engine",
        "samples/s",
        "tokens/s",
        "server: CPU/sample",
        "MB",
    )
    for in_flight in at_once:
        for engine in engines:
            point = Point(engine.name, in_flight)
            result.add_row(
                f"{in_flight}" if engine is engines[0] else "",
                engine.name,
                with_spread(runs, OURS_SIDECAR, point, "samples_per_s"),
                cell(runs.median(OURS_SIDECAR, point, "tokens_per_s")),
                microseconds(runs.median(OURS_SIDECAR, point, "server_cpu_us")),
                cell(runs.median(OURS_SIDECAR, point, "server_mb")),
            )
        result.add_section()
    return result


def bars(benchmark: Benchmark) -> list[Bar]:
    result = []
    for in_flight in AT_ONCE:
        replay, sim = Point("replay", in_flight), Point("sim", in_flight)
        rate, of_sim = (benchmark.runs.median(OURS_SIDECAR, it, "samples_per_s") for it in (replay, sim))
        memory, sims = (benchmark.runs.median(OURS_SIDECAR, it, "server_mb") for it in (replay, sim))
        result += [
            at_least(
                f"replay, {in_flight} at once: samples/s, part of sim's", OF_SIM, rate and rate / of_sim
            ),
            at_most(
                f"replay, {in_flight} at once: memory more than sim's",
                MORE_MB,
                memory and memory - sims,
                " MB",
            ),
        ]
    return result


def plot(benchmark: Benchmark, engines: list[Engine]) -> None:
    with figure(benchmark.plot, "Samples a second, by how many requests are under way") as [axes]:
        for engine in engines:
            points = [Point(engine.name, in_flight) for in_flight in AT_ONCE]
            rates = [benchmark.runs.median(OURS_SIDECAR, point, "samples_per_s") for point in points]
            axes.plot(AT_ONCE, rates, marker="o", label=engine.name)
        logarithmic(axes, x=True, y=True)
        axes.set_xlabel("requests at once")
        axes.set_ylabel("samples per second")
        axes.legend()


if __name__ == "__main__":
    main()
