"""A pool of workers with copies of one client: a sidecar each, or one that all share.

Each keeps 32 requests in flight. Measured are the sidecars' memory, threads and connections, the heartbeats
and refusals that the server sees, and samples/s; then a light program and modest ones beside a greedy one,
what the death of the sidecar costs, and whether sharing costs anything for a program that is alone.
"""

from __future__ import annotations

import json
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from harness.bars import Bar, at_least, at_most
from harness.benchmark import Benchmark
from harness.crowd import Program, environment_of, held_by_sidecars, programs, sidecars
from harness.peers import OURS_SIDECAR, Peer
from harness.plots import figure
from harness.runs import Figures
from harness.tables import cell, new_table, seconds
from rich.table import Table

OWN = OURS_SIDECAR
SHARED = Peer("ours, shared", "#d1495b", sidecar=True)
SAMPLING = {OWN: "1", SHARED: "shared"}
EACH = 32
SLOTS = 64
GREEDY = 5000


class Part(NamedTuple):
    part: str
    programs: int = 0


CROWD, TURNS, ALONE, LIGHT, MODEST, KILLED = (
    Part(what) for what in ("crowd", "turns", "alone", "a light program", "modest ones", "killed")
)


def main() -> None:
    benchmark = Benchmark("workers", __doc__, among=(OURS_SIDECAR,))
    workers, lasting = (4, 0.8) if benchmark.quick else (32, 10.0)
    for _ in benchmark.rounds(3):
        for peer in (OWN, SHARED):
            crowd(benchmark, peer, workers, lasting)
            throttled(benchmark, peer, workers, lasting)
        in_turns(benchmark, workers, lasting)
        alone(benchmark, lasting)
        beside_a_greedy_one(benchmark, lasting)
        modest_beside_a_greedy_one(benchmark, min(16, workers), lasting)
        killed(benchmark, min(16, workers), lasting)
    benchmark.report([table(benchmark, workers), others(benchmark)], bars(benchmark, workers))
    plot(benchmark, workers)


@contextmanager
def pool_of(
    benchmark: Benchmark, count: int, sampling: str, *options: str
) -> Iterator[tuple[list[Program], str, str]]:
    """The programs, their server's URL, and the folder in which their sidecars meet."""
    with (
        benchmark.server("--latency", "0.05", *options) as url,
        tempfile.TemporaryDirectory() as folder,
        programs(count, url, folder, sampling) as pool,
    ):
        yield pool, url, folder


def crowd(benchmark: Benchmark, peer: Peer, workers: int, lasting: float) -> None:
    with pool_of(benchmark, workers, SAMPLING[peer]) as (pool, url, folder):
        before = heartbeats(url)
        for program in pool:
            program.tell("loop", in_flight=EACH, seconds=lasting)
        time.sleep(lasting / 2)
        held = held_by_sidecars(folder)
        for program in pool:
            program.hear()
        beats = (heartbeats(url) - before) * 10.0 / lasting
        joined = Program(environment_of(url, folder, SAMPLING[peer]), "")
        first = joined.ask("first")
        joined.end()
        time.sleep(lasting * 0.6)  # What comes after the last request is done with by then.
        idle = held_by_sidecars(folder).cpu_s
        time.sleep(lasting / 2)
        figures: Figures = {
            "heartbeats": beats,
            "first_s": first,
            "idle_cpu": (held_by_sidecars(folder).cpu_s - idle) / (lasting / 2),
            **held._asdict(),
        }
        benchmark.runs.add(peer, CROWD, figures)


def in_turns(benchmark: Benchmark, workers: int, lasting: float) -> None:
    """Samples/s of both crowds, which take turns: a machine is not as fast in one minute as in the next."""
    with (
        pool_of(benchmark, workers, SAMPLING[OWN]) as (own, _, _),
        pool_of(benchmark, workers, SAMPLING[SHARED]) as (shared, _, _),
    ):
        for _ in range(1 if benchmark.quick else 4):
            for peer, pool in ((OWN, own), (SHARED, shared)):
                for program in pool:
                    program.tell("loop", in_flight=EACH, seconds=lasting / 4)
                rate = sum(done["samples"] / done["seconds"] for done in map(Program.hear, pool))
                benchmark.runs.add(peer, TURNS, {"samples_per_s": rate})


def throttled(benchmark: Benchmark, peer: Peer, workers: int, lasting: float) -> None:
    """At a server that takes 64 at once: all of them, and one with as many in flight."""
    for count in (1, workers):
        with pool_of(benchmark, count, SAMPLING[peer], "--slots", str(SLOTS)) as (pool, url, _):
            for program in pool:
                program.tell("loop", in_flight=EACH * workers // count, seconds=lasting)
            samples = sum(program.hear()["samples"] for program in pool)
            refused = statuses(url)[429]
            benchmark.runs.add(peer, Part("throttled", count), {"refused_per_sample": refused / samples})


def alone(benchmark: Benchmark, lasting: float) -> None:
    """One program with a sidecar of its own, and one alone with a shared one, which take turns, too."""
    with (
        benchmark.server("--latency", "0.05") as url,
        tempfile.TemporaryDirectory() as folder,
        programs(1, url, folder, SAMPLING[OWN]) as [own],
        programs(1, url, folder, SAMPLING[SHARED]) as [shared],
    ):
        for _ in range(1 if benchmark.quick else 5):
            for peer, program in ((OWN, own), (SHARED, shared)):
                round_trip = program.ask("loop", in_flight=1, seconds=lasting / 10)["p50_s"]
                busy = program.ask("loop", in_flight=512, seconds=lasting / 5)
                figures = {"round_trip_s": round_trip, "samples_per_s": busy["samples"] / busy["seconds"]}
                benchmark.runs.add(peer, ALONE, figures)


def beside_a_greedy_one(benchmark: Benchmark, lasting: float) -> None:
    with pool_of(benchmark, 2, "shared") as ([light, greedy], _, _):
        by_itself = light.ask("loop", in_flight=1, seconds=lasting / 2)["p50_s"]
        greedy.tell("loop", in_flight=GREEDY, seconds=lasting)
        time.sleep(lasting / 4)
        beside = light.ask("loop", in_flight=1, seconds=lasting / 2)["p50_s"]
        greedy.hear()
        figures = {"alone_p50_s": by_itself, "beside_p50_s": beside, "times": beside / by_itself}
        benchmark.runs.add(SHARED, LIGHT, figures)


def modest_beside_a_greedy_one(benchmark: Benchmark, workers: int, lasting: float) -> None:
    """What the modest ones get of a server that takes 64 at once, as a part of what all would get alike."""
    with pool_of(benchmark, workers, "shared", "--slots", str(SLOTS)) as ([greedy, *modest], url, _):
        greedy.tell("loop", in_flight=GREEDY, seconds=lasting)
        time.sleep(lasting / 4)
        begun = journal(url)["now"]
        for program in modest:
            program.tell("loop", in_flight=EACH, seconds=lasting / 2)
        rates = [done["samples"] / done["seconds"] for done in map(Program.hear, modest)]
        ended = journal(url)
        greedy.hear()
    completed = [time for session in ended["sessions"].values() for time in session["completed"]]
    equal = sum(time > begun for time in completed) / (ended["now"] - begun) / workers
    benchmark.runs.add(SHARED, MODEST, {"share": min(rates) / equal, "equal_per_s": equal})


def killed(benchmark: Benchmark, workers: int, lasting: float) -> None:
    """The longest time without a result that any of them has, when the shared sidecar is killed."""
    with pool_of(benchmark, workers, "shared") as (pool, _, folder):
        for program in pool:
            program.tell("loop", in_flight=EACH, seconds=lasting)
        time.sleep(lasting / 2)
        for sidecar in sidecars(folder):
            sidecar.kill()
        gap = max(program.hear()["longest_gap_s"] for program in pool)
        benchmark.runs.add(SHARED, KILLED, {"resumed_s": gap})


def heartbeats(url: str) -> int:
    sessions = journal(url)["sessions"].values()
    return sum(len(session["heartbeats"]) for session in sessions)


def journal(url: str) -> Any:
    return _get(f"{url}/local/journal")


def statuses(url: str) -> Counter[int]:
    return Counter(request["status"] for request in _get(f"{url}/local/requests")["requests"])


def _get(url: str) -> Any:
    with urllib.request.urlopen(url) as response:
        return json.load(response)


def table(benchmark: Benchmark, workers: int) -> Table:
    runs = benchmark.runs
    columns = {
        "sidecars": ("processes", "{:.0f}"),
        "MB (PSS)": ("pss_mb", "{:,.0f}"),
        "threads": ("threads", "{:,.0f}"),
        "connections": ("connections", "{:,.0f}"),
        "heartbeats in 10 s": ("heartbeats", "{:.0f}"),
        "idle, of a core": ("idle_cpu", "{:.1%}"),
    }
    result = new_table(
        f"{workers} workers, {EACH} requests in flight each", "client", "samples/s", *columns, "first sample"
    )
    for peer in (OWN, SHARED):
        cells = [cell(runs.median(peer, CROWD, name), form) for name, form in columns.values()]
        rate = cell(runs.median(peer, TURNS, "samples_per_s"))
        result.add_row(peer.name, rate, *cells, seconds(runs.median(peer, CROWD, "first_s")))
    return result


def others(benchmark: Benchmark) -> Table:
    runs = benchmark.runs
    result = new_table("A shared sidecar otherwise", "what", "measured")
    result.add_row("a light program's p50, alone", seconds(runs.median(SHARED, LIGHT, "alone_p50_s")))
    result.add_row(
        f"beside one with {GREEDY:,} in flight", seconds(runs.median(SHARED, LIGHT, "beside_p50_s"))
    )
    result.add_row(
        "the least that a modest one gets beside a greedy one, of an equal share",
        cell(runs.median(SHARED, MODEST, "share"), "{:.0%}"),
    )
    result.add_row("killed: longest time without a result", seconds(runs.median(SHARED, KILLED, "resumed_s")))
    for peer in (OWN, SHARED):
        rate = cell(runs.median(peer, ALONE, "samples_per_s"))
        trip = seconds(runs.median(peer, ALONE, "round_trip_s"))
        result.add_row(f"one program, {peer.name}: samples/s, round trip", f"{rate}, {trip}")
    return result


def bars(benchmark: Benchmark, workers: int) -> list[Bar]:
    runs = benchmark.runs
    refused = runs.median(SHARED, Part("throttled", workers), "refused_per_sample")
    of_one = runs.median(SHARED, Part("throttled", 1), "refused_per_sample")
    return [
        at_most("PSS of all sidecars", 60, runs.median(SHARED, CROWD, "pss_mb"), " MB"),
        at_most("connections", 100, runs.median(SHARED, CROWD, "connections")),
        at_most("heartbeats in 10 s", 2, runs.median(SHARED, CROWD, "heartbeats")),
        at_least("samples/s, part of own sidecars'", 0.95, runs.ratio(SHARED, OWN, TURNS, "samples_per_s")),
        at_most("refusals a sample, × one process's", 1.1, refused / of_one if refused and of_one else None),
        at_most(
            "a light program's p50 beside a greedy one, × alone", 1.5, runs.median(SHARED, LIGHT, "times")
        ),
        at_least("of an equal share, beside a greedy one", 0.9, runs.median(SHARED, MODEST, "share")),
        at_most("killed: longest time without a result", 3, runs.median(SHARED, KILLED, "resumed_s"), " s"),
        at_most("first sample of a further worker", 0.1, runs.median(SHARED, CROWD, "first_s"), " s"),
        at_most("CPU when idle, of a core", 0.01, runs.median(SHARED, CROWD, "idle_cpu")),
        at_most(
            "one program: round trip, × own sidecar's",
            1.03,
            runs.ratio(SHARED, OWN, ALONE, "round_trip_s"),
        ),
        at_least(
            "one program: samples/s, part of own sidecar's",
            0.97,
            runs.ratio(SHARED, OWN, ALONE, "samples_per_s"),
        ),
    ]


def plot(benchmark: Benchmark, workers: int) -> None:
    title = f"{workers} workers: a sidecar each, or one for all"
    with figure(benchmark.plot, title, 3) as panels:
        names = {
            "pss_mb": "MB of memory",
            "connections": "connections",
            "samples_per_s": "samples per second",
        }
        for axes, (name, label) in zip(panels, names.items(), strict=True):
            part = TURNS if name == "samples_per_s" else CROWD
            values = [benchmark.runs.median(peer, part, name) or 0.0 for peer in (OWN, SHARED)]
            axes.bar(["own", "shared"], values, color=[OWN.colour, SHARED.colour])
            axes.set_ylabel(label)


if __name__ == "__main__":
    main()
