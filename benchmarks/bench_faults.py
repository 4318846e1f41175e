"""One answer in five goes wrong: how long until every request has its result, and is any lost or done twice?

All clients get the same seeded faults: 5xx, 408s, connections reset before and within an answer, answers
that are truncated, corrupt or late. Every token is compared with what the simulation must have said, and
the server's journal tells how many requests it worked on.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from typing import Any, NamedTuple

from harness.bars import Bar, at_least, at_most
from harness.benchmark import Benchmark
from harness.journal import read_journal
from harness.peers import OFFICIAL_NEW, OURS, OURS_SIDECAR, Peer
from harness.plots import bars_across, figure
from harness.runs import Figures
from harness.tables import cell, new_table, times, with_spread
from rich.table import Table

from tinker_sidecar.local_server.engines.sim import expected_tokens

FAULTS = (
    "*:500@0.05",
    "*:503@0.03",
    "*:408@0.02",
    "*:reset@0.05",
    "*:reset-mid-body@0.03",
    "asample:truncate@0.01",
    "retrieve_future:corrupt@0.01",
    "*:delay@0.01,seconds=0.5",
)
PEERS = (OFFICIAL_NEW, OURS, OURS_SIDECAR)
TIMEOUT = 1800.0
MAX_TOKENS = 8

# The user's program, in the peer's environment: nothing but that peer and the standard library.
PROGRAM = """
import importlib, json, os, sys, time
module, requests, max_tokens = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
peer = importlib.import_module(module)
service_client = peer.ServiceClient()
client = service_client.create_sampling_client(base_model=os.environ["BENCHMARK_MODEL"])
params = peer.types.SamplingParams(max_tokens=max_tokens, seed=1)
make = peer.types.ModelInput.from_ints
started = time.monotonic()
futures = [client.sample(make([number % 30000, number // 30000]), 1, params) for number in range(requests)]
results = []
for future in futures:
    try:
        results.append(list(future.result().sequences[0].tokens))
    except Exception as error:
        results.append(f"{type(error).__name__}: {error}"[:200])
json.dump({"seconds": time.monotonic() - started, "results": results}, answers)
answers.flush()
os._exit(0)
"""


class Point(NamedTuple):
    requests: int


def main() -> None:
    requests = _own_options()
    benchmark = Benchmark("faults", __doc__)
    point = Point(requests or (40 if benchmark.quick else 1000))
    peers = [peer for peer in PEERS if peer in benchmark.peers and benchmark.in_full(peer)]
    for _ in benchmark.rounds(2):
        for peer in peers:
            # A server each: its faults are drawn anew, in the same order.
            faults = [argument for fault in FAULTS for argument in ("--fault", fault)]
            with benchmark.server("--latency", "0.05", "--fault-seed", "1", *faults) as url:
                if figures := run(peer, url, point.requests):
                    benchmark.runs.add(peer, point, figures)
    benchmark.report([table(benchmark, peers, point)], bars(benchmark, point))
    plot(benchmark, peers, point)


def _own_options() -> int | None:
    """`--requests`, taken from the command line before the harness reads the rest."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--requests", type=int)
    own, sys.argv[1:] = parser.parse_known_args()
    number: int | None = own.requests
    return number


def run(peer: Peer, url: str, requests: int) -> Figures | None:
    """What became of so many requests sent at once; None, and a word to the user, if the program failed."""
    command = [peer.python, "-W", "ignore", "-c", PROGRAM, peer.module, str(requests), str(MAX_TOKENS)]
    with tempfile.TemporaryFile() as errors:
        program = subprocess.run(
            command,
            env=peer.environment(url, "tinker-sidecar/sim"),
            stdout=subprocess.PIPE,
            stderr=errors,
            timeout=TIMEOUT,
            check=False,
        )
        # The official SDK 0.38.0 aborts in some 2 % of its programs, once they are done.
        if program.returncode not in (0, -signal.SIGABRT):
            errors.seek(max(0, errors.seek(0, 2) - 2000))
            print(f"{peer.name}: {errors.read().decode(errors='replace')}", file=sys.stderr)
            return None
    answer: dict[str, Any] = json.loads(program.stdout)
    results = answer["results"]
    lost = [result for result in results if isinstance(result, str)]
    wrong = sum(
        result != expected_tokens([number % 30000, number // 30000], 1, 0, MAX_TOKENS)
        for number, result in enumerate(results)
        if not isinstance(result, str)
    )
    worked_on = sum(len(session.completed) for session in read_journal(url).values())
    return {
        "seconds": answer["seconds"],
        "lost": len(lost),
        "errors": sorted(set(lost))[:5],
        "wrong": wrong,
        "twice": max(0, worked_on - requests),
    }


def table(benchmark: Benchmark, peers: list[Peer], point: Point) -> Table:
    runs = benchmark.runs
    result = new_table(
        f"{point.requests:,} requests, one answer in five faulty: median (least–most)",
        "client",
        "time to finish",
        "of the official",
        "lost",
        "wrong",
        "twice",
    )
    for peer in peers:
        result.add_row(
            peer.name,
            with_spread(runs, peer, point, "seconds", "{:.1f} s"),
            times(runs.ratio(peer, OFFICIAL_NEW, point, "seconds")),
            *(cell(runs.median(peer, point, what)) for what in ("lost", "wrong", "twice")),
        )
    return result


def bars(benchmark: Benchmark, point: Point) -> list[Bar]:
    runs = benchmark.runs
    result = []
    for peer in (OURS, OURS_SIDECAR):
        for what in ("lost", "wrong", "twice"):
            figures = runs.values(peer, point, what)
            result.append(at_most(f"{peer.name}: {what}", 0, sum(figures) if figures else None))
        result.append(
            at_least(
                f"{peer.name}: official time to finish, times ours",
                1.0,
                runs.ratio(OFFICIAL_NEW, peer, point, "seconds"),
                "×",
            )
        )
    return result


def plot(benchmark: Benchmark, peers: list[Peer], point: Point) -> None:
    medians = {peer: benchmark.runs.median(peer, point, "seconds") for peer in peers}
    values = {peer: value for peer, value in medians.items() if value is not None}
    with figure(benchmark.plot, f"{point.requests:,} requests, one answer in five faulty") as [axes]:
        bars_across(axes, values, "{:.1f} s")
        axes.set_xlabel("seconds until every request has its result")


if __name__ == "__main__":
    main()
