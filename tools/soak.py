"""A seeded run of chaos, in which nothing may be lost: `make soak`, or `python -m tools.soak --help`.

Consumers of every sort sample without end through the sidecar, from a server whose answers go wrong one time
in ten. All the while the sidecar is killed and stopped, the server stopped and restarted, this process
forked. Every answer is compared with what the server's engine must have said. Ends with a table, and with
status 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

import tinker_client
from tests.leaks import belongings, leaked
from tinker_client import APIFuture, NotFoundError, RetryConfig, SamplingClient, ServiceClient, types
from tinker_sidecar.local_server.engines.sim import expected_tokens
from tinker_sidecar.local_server.launch import LocalServer, start_local_server

KEY = "tml-soak"
MODEL = "tinker-sidecar/sim"
PARAMS = types.SamplingParams(max_tokens=16, seed=1)
RETRY = RetryConfig(retry_delay_base=0.02, retry_delay_max=0.5, progress_timeout=120)

# Not on the route of heartbeats, whose gaps are measured; and no 410, after which a request is anew.
FAULTS = [
    f"{route}:{fault}"
    for route in ("asample", "retrieve_future", "retrieve_futures")
    for fault in (
        "500@0.02",
        "503@0.01",
        "408@0.01",
        "429@0.0005",
        "reset@0.02",
        "reset-mid-body@0.01",
        "truncate@0.005",
        "corrupt@0.005",
        "empty@0.005",
        "delay@0.005,seconds=0.5",
        "drip@0.005,seconds=0.5",
    )
]

HEARTBEAT_GAP = 12.0
GROWTH = 1.3, 30e6
"""Memory may grow by this factor, and by so many bytes, from the first quarter of a run to the last."""
ANSWER = 150.0
"""Seconds in which each request must be answered, whatever happens meanwhile."""


class BrokenPromiseError(Exception):
    """What must never be."""


@dataclass
class Report:
    """What has happened, told by any thread."""

    counts: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    memory: dict[str, list[int]] = field(default_factory=lambda: {"this process": [], "sidecar": []})
    heartbeat_gap: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, times: int = 1) -> None:
        with self._lock:
            self.counts[what] += times

    def broke(self, promise: str) -> None:
        with self._lock:
            self.broken.append(promise)


# Sampling


class Load:
    """Consumers on threads, all of one sampling client, until `stop`."""

    def __init__(self, client: SamplingClient, report: Report, seed: int) -> None:
        self._client = client
        self._report = report
        self._stopped = threading.Event()
        self.session_is_gone = False
        """Whether the server is being restarted: from then on a 404 is what its client must be told."""
        self.asked = self._ended = 0
        self._lock = threading.Lock()
        self._numbers = iter(range(1, 1 << 31)).__next__
        consumers: list[Callable[[random.Random], None]] = [
            self._read_at_once,
            self._read_late,
            self._never_read,
            self._cancel,
            self._await,
        ]
        self._threads = [
            threading.Thread(
                target=self._consume, args=(consume, random.Random(f"{seed} {consume.__name__}"))
            )
            for consume in consumers
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Also waits for what nobody has read; what does not come is lost."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        deadline = time.monotonic() + ANSWER
        while self._ended < self.asked and time.monotonic() < deadline:
            time.sleep(0.05)
        self._report.count("lost", self.asked - self._ended)

    def _consume(self, consume: Callable[[random.Random], None], dice: random.Random) -> None:
        while not self._stopped.is_set():
            try:
                consume(dice)
            except BrokenPromiseError as broken:
                self._report.broke(f"{consume.__name__.strip('_')}: {broken}")
            except NotFoundError as error:
                if not self.session_is_gone:
                    self._report.broke(f"{consume.__name__.strip('_')}: {error}")
                self._stopped.wait(0.1)
            except Exception as error:  # noqa: BLE001  # A soak reports whatever comes.
                self._report.broke(f"{consume.__name__.strip('_')}: {type(error).__name__}: {error}")
                self._stopped.wait(0.1)

    def _ask(self) -> tuple[int, APIFuture[types.SampleResponse]]:
        number = self._numbers()
        future = self._client.sample(types.ModelInput.from_ints(_prompt(number)), 1, PARAMS)
        with self._lock:
            self.asked += 1
        self._report.count("requests")
        future.add_done_callback(self._end)
        return number, future

    def _end(self, future: concurrent.futures.Future[Any]) -> None:
        with self._lock:
            self._ended += 1
        if future.cancelled():
            self._report.count("cancelled")
        elif isinstance(future.exception(), NotFoundError):
            self._report.count("told that the session is gone")
        elif future.exception() is None:
            self._report.count("answered")

    def _check(self, number: int, future: APIFuture[types.SampleResponse]) -> None:
        try:
            response = future.result(ANSWER)
        except TimeoutError:
            raise BrokenPromiseError(f"request {number} was not answered within {ANSWER:.0f} s") from None
        self._same(number, response)

    def _same(self, number: int, response: types.SampleResponse) -> None:
        if response.sequences[0].tokens != expected_tokens(_prompt(number), 1, 0, 16):
            self._report.count("wrong")
            raise BrokenPromiseError(f"request {number} got another's tokens")
        self._report.count("compared")

    def _check_all(self, asked: list[tuple[int, APIFuture[types.SampleResponse]]]) -> None:
        gone: NotFoundError | None = None
        for number, future in asked:
            try:
                self._check(number, future)
            except NotFoundError as error:
                gone = error
        if gone is not None:
            raise gone

    def _read_at_once(self, dice: random.Random) -> None:
        self._check_all([self._ask() for _ in range(dice.randrange(1, 200))])

    def _read_late(self, dice: random.Random) -> None:
        asked = [self._ask() for _ in range(dice.randrange(1, 200))]
        self._stopped.wait(dice.uniform(0, 3))
        self._check_all(asked)

    def _never_read(self, dice: random.Random) -> None:
        never_read = [self._ask() for _ in range(dice.randrange(1, 100))]
        self._report.count("never read", len(never_read))
        self._stopped.wait(dice.uniform(0.1, 0.5))

    def _cancel(self, dice: random.Random) -> None:
        asked = [self._ask() for _ in range(dice.randrange(1, 100))]
        self._stopped.wait(dice.uniform(0, 0.1))
        kept = []
        for number, future in asked:
            if dice.random() < 0.5 or not future.cancel():
                kept.append((number, future))
        self._check_all(kept)

    def _await(self, dice: random.Random) -> None:
        async def one(number: int, future: APIFuture[types.SampleResponse]) -> None:
            self._same(number, await future.result_async(ANSWER))

        async def many() -> None:
            await asyncio.gather(*(one(*self._ask()) for _ in range(dice.randrange(1, 200))))

        asyncio.run(many())


def _prompt(number: int) -> list[int]:
    return [number % 30_000, number // 30_000, 7]


# Chaos


class World:
    """The server, the client and its sidecar, and what can be done to them."""

    def __init__(self, report: Report, seed: int) -> None:
        self.report = report
        self._seed = seed
        self.server = self._start_server("0")
        self._port = self.server.base_url.rsplit(":", 1)[1]
        self._connect()

    def _start_server(self, port: str) -> LocalServer:
        faults = [argument for fault in FAULTS for argument in ("--fault", fault)]
        self._seed += 1
        behaviour = ["--latency", "0.05", "--jitter", "0.5", "--fault-seed", str(self._seed)]
        return start_local_server("sim", "--port", port, *behaviour, *faults)

    def _connect(self) -> None:
        self._service_client = ServiceClient(base_url=self.server.base_url, api_key=KEY)
        client = self._service_client.create_sampling_client(base_model=MODEL, retry_config=RETRY)
        self.load = Load(client, self.report, self._seed)

    def close(self) -> None:
        self.load.stop()
        self._read_journal(self.load.asked)
        self._service_client.close()
        tinker_client.shutdown()
        self.server.close()

    # What happens; each returns when the next thing may.

    def kill(self, dice: random.Random) -> None:
        number = dice.choice((signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM))
        sidecar().send_signal(number)
        self.report.count(f"sidecar killed: {number.name}")
        self.report.count("kills")
        self._wait_for_sidecar()

    def stop_the_sidecar(self, dice: random.Random) -> None:
        _pause(sidecar().pid, dice.uniform(0.2, 1.5))
        self.report.count("sidecar stopped")

    def stop_the_server(self, dice: random.Random) -> None:
        _pause(self.server.pid, dice.uniform(0.2, 1.5))
        self.report.count("server stopped")

    def restart_the_server(self, dice: random.Random) -> None:
        """What is pending hears that its session is gone; a new service client goes on."""
        self._read_journal(None)
        self.load.session_is_gone = True
        self.server.close()
        self.server = self._start_server(self._port)
        self.report.count("server restarted")
        self.load.stop()
        self._service_client.close()
        self._connect()

    def fork(self, dice: random.Random) -> None:
        child = os.fork()
        if child == 0:
            _sample_in_child(self.server.base_url)
        self.report.count("forks")
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
            self.report.broke("a forked child could not sample")

    def suspend_for_a_minute(self) -> None:
        """As a laptop's lid does with everything: no heartbeat can be expected of that time."""
        _pause(sidecar().pid, 60)
        self.report.count("sidecar suspended for a minute")

    # What came of it.

    def look_at_memory(self) -> None:
        with suppress(psutil.NoSuchProcess, IndexError):
            child = sidecar().memory_info().rss
            self.report.memory["this process"].append(psutil.Process().memory_info().rss)
            self.report.memory["sidecar"].append(child)

    def _read_journal(self, asked: int | None) -> None:
        """Heartbeats and, if all that was asked is known, what was done twice."""
        with urllib.request.urlopen(f"{self.server.base_url}/local/journal") as answer:  # noqa: S310
            journal = json.load(answer)
        session: dict[str, Any] = max(journal["sessions"].values(), key=lambda it: len(it["submitted"]))
        beats = [session["created"], *session["heartbeats"], journal["now"]]
        gap = max(later - earlier for earlier, later in pairwise(beats))
        self.report.heartbeat_gap = max(self.report.heartbeat_gap, gap)
        if asked is not None:
            self.report.count("done twice", max(0, len(session["submitted"]) - asked))

    def _wait_for_sidecar(self) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with suppress(IndexError, psutil.NoSuchProcess):
                if sidecar().status() != psutil.STATUS_ZOMBIE:
                    self.report.count("kills survived")
                    return
            time.sleep(0.02)
        self.report.broke("no new sidecar within 20 s")


def sidecar() -> psutil.Process:
    """This process's; IndexError when there is none at the moment."""
    children = psutil.Process().children()
    return [child for child in children if child.cmdline()[-2:] == ["-m", "tinker_sidecar"]][0]  # noqa: RUF015


def _pause(pid: int, seconds: float) -> None:
    os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(pid, signal.SIGCONT)


def _sample_in_child(base_url: str) -> None:
    """With a session of its own, so that its requests are not counted with its parent's."""
    status = 1
    with suppress(BaseException):
        with ServiceClient(base_url=base_url, api_key=KEY) as service_client:
            client = service_client.create_sampling_client(base_model=MODEL, retry_config=RETRY)
            asked = {
                n: client.sample(types.ModelInput.from_ints(_prompt(n)), 1, PARAMS) for n in range(1, 30)
            }
            for n, future in asked.items():
                assert future.result(ANSWER).sequences[0].tokens == expected_tokens(_prompt(n), 1, 0, 16)
        tinker_client.shutdown()
        status = 0
    os._exit(status)


def rounds(world: World, dice: random.Random, *, quick: bool, kills: bool) -> Iterator[tuple[float, Any]]:
    """Seconds to wait, and what happens then, without end. Restarts are limited to five a minute."""
    while True:
        yield 3.0, world.stop_the_sidecar
        if kills:
            yield 2.0, world.kill
        yield 3.0, world.fork
        yield 2.0, world.stop_the_server
        if kills:
            yield 2.0, world.kill
        yield 2.0, world.restart_the_server
        if not quick:
            yield dice.uniform(12, 20), world.fork


def soak(seconds: float, seed: int, *, quick: bool, kills: bool) -> Report:
    report = Report()
    dice = random.Random(seed)
    before = belongings()
    world = World(report, seed)
    deadline = time.monotonic() + seconds
    with sampled_memory(world):
        for wait, happen in rounds(world, dice, quick=quick, kills=kills):
            time.sleep(max(0.0, min(wait, deadline - time.monotonic())))
            if time.monotonic() >= deadline:
                break
            happen(dice)
        if not quick:
            # The journal first: what comes now makes a gap of its own.
            world.restart_the_server(dice)
            gap = report.heartbeat_gap
            world.suspend_for_a_minute()
            time.sleep(5)
    world.close()
    if not quick:
        report.heartbeat_gap = gap
    report.counts["leaks"] = len(left := leaked(before))
    report.broken += [f"left behind: {it}" for it in left]
    return report


@contextmanager
def sampled_memory(world: World) -> Iterator[None]:
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(0.5):
            world.look_at_memory()

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


# The verdict


def growth(memory: list[int]) -> tuple[float, float]:
    """Median bytes in the first and in the last quarter."""
    quarter = max(1, len(memory) // 4)
    return statistics.median(memory[:quarter]), statistics.median(memory[-quarter:])


def judge(report: Report) -> list[str]:
    """Every promise that was broken, with how often."""
    broken = [f"{times} × {what}" for what, times in Counter(report.broken).items()]
    broken += [
        f"{report.counts[what]} {what}" for what in ("lost", "wrong", "done twice") if report.counts[what]
    ]
    if report.counts["kills"] != report.counts["kills survived"]:
        broken.append("not every kill was survived")
    if report.heartbeat_gap > HEARTBEAT_GAP:
        broken.append(f"no heartbeat for {report.heartbeat_gap:.1f} s")
    factor, constant = GROWTH
    for who, memory in report.memory.items():
        first, last = growth(memory)
        if last > first * factor + constant:
            broken.append(f"{who} grew from {first / 1e6:.0f} to {last / 1e6:.0f} MB")
    return broken


def table(report: Report, seconds: float, seed: int) -> Table:
    result = Table("what", title=f"Soak: {seconds:.0f} s, seed {seed}", title_justify="left")
    result.add_column("", justify="right")
    shown = dict(report.counts)
    for what in (
        "requests",
        "answered",
        "told that the session is gone",
        "cancelled",
        "compared",
        "never read",
    ):
        result.add_row(what, f"{shown.pop(what, 0):,}")
    result.add_section()
    ends = ("kills", "kills survived", "lost", "wrong", "done twice", "leaks")
    for what in sorted(set(shown) - set(ends)):
        result.add_row(what, f"{shown[what]:,}")
    result.add_row("faulty answers", f"{sum(float(it.split('@')[1].split(',')[0]) for it in FAULTS) / 3:.0%}")
    result.add_section()
    for what in ends:
        result.add_row(what, f"{shown.get(what, 0):,}")
    result.add_row("longest heartbeat gap", f"{report.heartbeat_gap:.1f} s")
    for who, memory in report.memory.items():
        first, last = growth(memory)
        result.add_row(
            f"memory of {who}: peak; first → last quarter",
            f"{max(memory) / 1e6:.0f} MB; {first / 1e6:.0f} → {last / 1e6:.0f} MB",
        )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--quick", action="store_true", help="40 seconds, for CI")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-kills", action="store_true", help="let the sidecar live")
    options = parser.parse_args()
    seconds = 35.0 if options.quick else options.minutes * 60
    os.environ["TINKER_SUBPROCESS_SAMPLING"] = "1"
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        report = soak(seconds, options.seed, quick=options.quick, kills=not options.no_kills)
    console = Console()
    console.print(table(report, seconds, options.seed))
    broken = judge(report)
    for promise in broken:
        console.print(f"[red]broken:[/] {promise}")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
