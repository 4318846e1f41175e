"""Sampling through TLS and HTTP/2, as real servers are reached; and a lone request at a server far away.

nginx stands before the simulated server: 128 streams a connection, connections that end after 5,000
requests, 60 s idle. For the lone requests, what goes to nginx and back is held up for 100 ms in all.
"""

from __future__ import annotations

from contextlib import ExitStack
from statistics import median
from typing import Any, NamedTuple

from harness.bars import Bar, at_least, at_most
from harness.benchmark import Benchmark
from harness.distance import distance
from harness.exchanges import in_sequence, lone_requests, read_exchanges
from harness.peers import OFFICIAL_NEW, OURS, OURS_SIDECAR, Peer
from harness.plots import bars_across, figure
from harness.tables import cell, microseconds, new_table, seconds, times, with_spread
from harness.tls_proxy import HOW_TO_INSTALL, TlsProxy, is_installed, tls_proxy
from harness.workers import Worker
from rich.table import Table

MODES = ("sync", "async")
IN_FLIGHT = 512
LATENCY = 0.05
"""Seconds that the server takes for a sample."""
ROUND_TRIP = 0.1
"""Seconds to the server and back, where it is far away."""
LONG = 3.0
"""Seconds: long enough a run to tell."""
NEEDED = 2
"""Round trips that the protocol needs: a result is asked for with what the answer to its request says."""


class Point(NamedTuple):
    mode: str
    what: str


def main() -> None:
    if not is_installed():
        print(f"tls: left out, since nginx is not installed ({HOW_TO_INSTALL})")
        return
    benchmark = Benchmark("tls", __doc__, among=(OFFICIAL_NEW, OURS, OURS_SIDECAR))
    modes = MODES[:1] if benchmark.quick else MODES
    for number in benchmark.rounds(3):
        measure_many(benchmark, modes)
        if number == 1:
            measure_lone(benchmark, modes)
    benchmark.report([many_table(benchmark, modes), lone_table(benchmark, modes)], bars(benchmark, modes))
    plot(benchmark, modes)


def many(mode: str) -> Point:
    return Point(mode, f"{IN_FLIGHT} in flight")


def lone(mode: str) -> Point:
    return Point(mode, "one, far away")


def measure_many(benchmark: Benchmark, modes: tuple[str, ...]) -> None:
    """The peers take turns in each mode."""
    with ExitStack() as stack:
        proxy = stack.enter_context(tls_proxy(stack.enter_context(server(benchmark))))
        workers = {peer: stack.enter_context(tls_worker(benchmark, peer, proxy)) for peer in benchmark.peers}
        burst = 64 if benchmark.quick else IN_FLIGHT
        for worker in workers.values():
            # A first one opens the connections.
            benchmark.ask(worker, "throughput", mode="async", samples=burst, in_flight=burst)
        for mode in modes:
            for peer, worker in workers.items():
                measure_throughput(benchmark, proxy, peer, worker, mode)


def measure_throughput(benchmark: Benchmark, proxy: TlsProxy, peer: Peer, worker: Worker, mode: str) -> None:
    """A run of about three seconds, and of a whole burst; with what the proxy saw of it."""
    samples = 64 if benchmark.quick else IN_FLIGHT
    settings = {"mode": mode, "in_flight": IN_FLIGHT}
    pace = benchmark.runs.median(peer, many(mode), "samples_per_s")
    if not pace and not benchmark.quick:
        tried = benchmark.ask(worker, "throughput", samples=samples, **settings)
        pace = tried and tried["samples_per_s"]
    proxy.traffic()  # What came before is not what is asked about.
    samples = max(samples, int((pace or 0) * LONG))
    figures = benchmark.measure(worker, peer, many(mode), "throughput", samples=samples, **settings)
    if figures is not None:
        figures["cpu_us"] = figures["client_cpu_us"] + figures["sidecar_cpu_us"]
        figures |= proxy.traffic()._asdict()


def measure_lone(benchmark: Benchmark, modes: tuple[str, ...]) -> None:
    """One request after the other, each peer with a server of its own, whose log tells of nobody else."""
    lasting = {"seconds": 0.1, "at_least": 2} if benchmark.quick else {"seconds": 5.0}
    for peer in benchmark.peers:
        for mode in modes:
            with ExitStack() as stack:
                url = stack.enter_context(server(benchmark))
                proxy = stack.enter_context(tls_proxy(url))
                port = stack.enter_context(distance(proxy.port, ROUND_TRIP))
                worker = stack.enter_context(tls_worker(benchmark, peer, proxy, f"https://127.0.0.1:{port}"))
                task: dict[str, Any] = {"mode": mode, "hogs": 0, **lasting}
                figures = benchmark.measure(worker, peer, lone(mode), "round_trip", **task)
                if figures is not None:
                    requests = lone_requests(read_exchanges(url), figures["calls"])
                    figures["exchanges"] = median(len(exchanges) for exchanges in requests)
                    figures["in_sequence"] = max(in_sequence(exchanges, ROUND_TRIP) for exchanges in requests)
                    figures["round_trips"] = (figures["p50_s"] - LATENCY) / ROUND_TRIP


def server(benchmark: Benchmark) -> Any:
    return benchmark.server("--latency", str(LATENCY))


def tls_worker(benchmark: Benchmark, peer: Peer, proxy: TlsProxy, url: str = "") -> Any:
    return benchmark.worker(peer, url or proxy.base_url, SSL_CERT_FILE=str(proxy.authority))


def many_table(benchmark: Benchmark, modes: tuple[str, ...]) -> Table:
    runs = benchmark.runs
    result = new_table(
        f"{IN_FLIGHT} in flight through TLS and HTTP/2: median (least–most); × is how many times as fast "
        "ours with the sidecar is",
        "callers",
        "client",
        "samples/s",
        "×",
        "p50",
        "p99",
        "CPU/sample",
        "sidecar's",
        "connections",
        "ended",
        "requests/sample",
        "errors",
    )
    for mode in modes:
        point = many(mode)
        for peer in benchmark.peers:
            requests, samples = (runs.median(peer, point, name) for name in ("requests", "samples"))
            result.add_row(
                mode if peer is benchmark.peers[0] else "",
                peer.name,
                with_spread(runs, peer, point, "samples_per_s"),
                times(runs.ratio(OURS_SIDECAR, peer, point, "samples_per_s")),
                *(seconds(runs.median(peer, point, name)) for name in ("p50_s", "p99_s")),
                *(microseconds(runs.median(peer, point, f"{who}_cpu_us")) for who in ("client", "sidecar")),
                *(cell(runs.median(peer, point, name)) for name in ("connections", "ended")),
                cell(requests / samples if requests and samples else None, "{:.2f}"),
                cell(runs.median(peer, point, "errors")),
            )
        result.add_section()
    return result


def lone_table(benchmark: Benchmark, modes: tuple[str, ...]) -> Table:
    runs = benchmark.runs
    result = new_table(
        f"One request at a time, {ROUND_TRIP * 1e3:.0f} ms from the server",
        "caller",
        "client",
        "p50",
        "p99",
        "round trips by the clock",
        "counted at the server",
        "HTTP requests",
    )
    for mode in modes:
        point = lone(mode)
        for peer in benchmark.peers:
            result.add_row(
                mode if peer is benchmark.peers[0] else "",
                peer.name,
                *(seconds(runs.median(peer, point, name)) for name in ("p50_s", "p99_s")),
                cell(runs.median(peer, point, "round_trips"), "{:.2f}"),
                *(cell(runs.median(peer, point, name)) for name in ("in_sequence", "exchanges")),
            )
        result.add_section()
    return result


def bars(benchmark: Benchmark, modes: tuple[str, ...]) -> list[Bar]:
    runs = benchmark.runs
    judged = []
    for mode in modes:
        judged.append(
            at_least(
                f"{mode}: times 0.38.0",
                10,
                runs.ratio(OURS_SIDECAR, OFFICIAL_NEW, many(mode), "samples_per_s"),
                "×",
            )
        )
        judged += [
            at_most(f"{mode}, {peer.name}: CPU a sample", 200, runs.median(peer, many(mode), "cpu_us"), " µs")
            for peer in (OURS, OURS_SIDECAR)
        ]
        judged += [
            at_most(
                f"{mode}, {peer.name}: round trips of a lone request",
                NEEDED,
                runs.median(peer, lone(mode), "in_sequence"),
            )
            for peer in (OURS, OURS_SIDECAR)
        ]
    return judged


def plot(benchmark: Benchmark, modes: tuple[str, ...]) -> None:
    ratio = benchmark.runs.ratio(OURS_SIDECAR, OFFICIAL_NEW, many(modes[0]), "samples_per_s")
    title = f"Through TLS and HTTP/2: {times(ratio)} the official SDK 0.38.0"
    with figure(benchmark.plot, title, len(modes), sharex=True) as panels:
        for axes, mode in zip(panels, modes, strict=True):
            rates = {
                peer: rate
                for peer in benchmark.peers
                if (rate := benchmark.runs.median(peer, many(mode), "samples_per_s")) is not None
            }
            bars_across(axes, rates, "{:,.0f}")
            axes.set_title(f"{mode} callers", loc="left")
            axes.set_xlabel(f"samples/s, {IN_FLIGHT} in flight")


if __name__ == "__main__":
    main()
