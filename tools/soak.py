"""A seeded run of chaos, in which nothing may be lost: `make soak`, or `python -m tools.soak --help`.

Consumers of every sort sample without end through the sidecar, from a server whose answers go wrong one time
in ten. All the while the sidecar is killed and stopped, the server stopped and restarted, this process
forked; descriptors and threads run out and come back. Every answer is compared with what the server's engine
must have said. In the end the same load is sampled in process, where the engine's own books can be looked at.
Ends with a table, and with status 1 if a promise was broken. With `--shared`: see `tools.shared_soak`.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import random
import resource
import signal
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any, TypeVar

import psutil
from rich.console import Console
from rich.table import Table

import tinker_client
from tests.leaks import belongings, leaked, open_library_runtimes
from tinker_client import ServiceClient, types
from tinker_client.local_server import LocalServer, start_local_server
from tinker_sidecar.engine.poller import FuturesPoller
from tinker_sidecar.engine.session import Session
from tinker_sidecar.local_server.engines.sim import expected_tokens
from tools.load import ANSWER, FAULTS, KEY, MODEL, PARAMS, RETRY, Load, Report, pause, prompt_of
from tools.shared_soak import soak_shared

HEARTBEAT_GAP = 12.0
GROWTH = 1.3, 30e6
"""Memory may grow by this factor, and by so many bytes, from the first quarter of a run to the last."""

# Chaos


_T = TypeVar("_T")
_IN_PROCESS = 12.0
BOOKS_EMPTY = 360.0
"""Seconds: what nobody seems to want any more is kept for five minutes, in case somebody comes for it."""


class World:
    """The server, the client and its sidecar, and what can be done to them."""

    def __init__(self, report: Report, seed: int, faults: list[str]) -> None:
        self.report = report
        self._faults = faults
        self._seed = seed
        self.server = self._start_server("0")
        self._port = self.server.base_url.rsplit(":", 1)[1]
        self._connect()

    def _start_server(self, port: str) -> LocalServer:
        faults = [argument for fault in self._faults for argument in ("--fault", fault)]
        self._seed += 1
        behaviour = ["--latency=0.05", "--jitter=0.5", "--long-poll=5", f"--fault-seed={self._seed}"]
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
        pause(sidecar().pid, dice.uniform(0.2, 1.5))
        self.report.count("sidecar stopped")

    def stop_the_server(self, dice: random.Random) -> None:
        pause(self.server.pid, dice.uniform(0.2, 1.5))
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

    def run_out_of_descriptors(self, dice: random.Random) -> None:
        """The sidecar may open no more for a while."""
        pid = sidecar().pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (psutil.Process(pid).num_fds(), before[1]))
        time.sleep(dice.uniform(1, 3))
        with suppress(ProcessLookupError):  # It was killed meanwhile.
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        self.report.count("descriptors ran out")

    def run_out_of_threads(self, dice: random.Random) -> None:
        """This process may start no more for a while, and its sidecar dies just then."""
        before = resource.getrlimit(resource.RLIMIT_NPROC)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, before[1]))
        sidecar().kill()
        time.sleep(dice.uniform(0.05, 0.15))  # Each try to replace it counts, and five a minute are allowed.
        resource.setrlimit(resource.RLIMIT_NPROC, before)
        self.report.count("threads ran out")
        self.report.count("kills")
        self._wait_for_sidecar()

    def suspend_for_a_minute(self) -> None:
        """As a laptop's lid does with everything: no heartbeat can be expected of that time."""
        pause(sidecar().pid, 60)
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


def _sample_in_child(base_url: str) -> None:
    """With a session of its own, so that its requests are not counted with its parent's."""
    status = 1
    with suppress(BaseException):
        with ServiceClient(base_url=base_url, api_key=KEY) as service_client:
            client = service_client.create_sampling_client(base_model=MODEL, retry_config=RETRY)
            asked = {
                n: client.sample(types.ModelInput.from_ints(prompt_of(n)), 1, PARAMS) for n in range(1, 30)
            }
            for n, future in asked.items():
                assert future.result(ANSWER).sequences[0].tokens == expected_tokens(prompt_of(n), 1, 0, 16)
        tinker_client.shutdown()
        status = 0
    os._exit(status)


def rounds(world: World, dice: random.Random, *, quick: bool, kills: bool) -> Iterator[tuple[float, Any]]:
    """Seconds to wait, and what happens then, without end. Restarts are limited to five a minute."""
    while True:
        yield 3.0, world.stop_the_sidecar
        if kills:
            yield 2.0, world.kill
        yield 1.0, world.run_out_of_descriptors
        yield 2.0, world.fork
        yield 2.0, world.stop_the_server
        if kills:
            yield 2.0, world.kill
        yield 2.0, world.restart_the_server
        if not quick:
            if kills and os.geteuid() != 0:  # Nothing limits root's.
                yield 50.0, world.run_out_of_threads
                yield 40.0, world.fork
            yield dice.uniform(12, 20), world.fork


def soak(seconds: float, seed: int, *, quick: bool, kills: bool) -> Report:
    report = Report()
    dice = random.Random(seed)
    open_library_runtimes()
    before = belongings()
    world = World(report, seed, FAULTS)
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
    sample_in_process(report, seed, quick=quick)
    report.counts["leaks"] = len(left := leaked(before))
    report.broken += [f"left behind: {it}" for it in left]
    return report


def sample_in_process(report: Report, seed: int, *, quick: bool) -> None:
    """Long enough for a heartbeat; then the engine's loops must run, and what its polls keep be nothing.

    From a server without faults, since after one it takes the polls minutes to give up what was cancelled.
    """
    os.environ["TINKER_SUBPROCESS_SAMPLING"] = "0"
    world = World(report, seed, faults=[])
    time.sleep(_IN_PROCESS)
    world.load.stop()
    deadline = time.monotonic() + BOOKS_EMPTY
    while not quick and (kept := _kept_by_polls()) and time.monotonic() < deadline:
        time.sleep(0.1)
    if not quick and kept:
        report.broke(f"the polls' books are not empty: {kept}")
    [session] = _living(Session)
    if session.last_heartbeat is None or time.monotonic() - session.last_heartbeat > HEARTBEAT_GAP:
        report.broke("the loop of heartbeats has ended")
    report.count("engine's loops alive in the end", len(session._background))
    world.close()


def _kept_by_polls() -> dict[str, int]:
    books = ("_waiting", "_coming", "_early", "_given_up", "_retrieved")
    kept = Counter({name: len(getattr(it, name)) for it in _living(FuturesPoller) for name in books})
    return {name: count for name, count in kept.items() if count}


def _living(cls: type[_T]) -> list[_T]:
    return [it for it in gc.get_objects() if type(it) is cls]


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
    parser.add_argument("--quick", action="store_true", help="a minute, for CI")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-kills", action="store_true", help="let the sidecar live")
    parser.add_argument("--shared", action="store_true", help="eight programs with one sidecar")
    options = parser.parse_args()
    seconds = 35.0 if options.quick else options.minutes * 60
    os.environ["TINKER_SUBPROCESS_SAMPLING"] = "shared" if options.shared else "1"
    for callbacks in ("tinker_client.callbacks", "concurrent.futures"):
        logging.getLogger(callbacks).disabled = True  # They raise by the hundred.
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        kills = not options.no_kills
        if options.shared:
            report = soak_shared(seconds, options.seed, kills=kills)
        else:
            report = soak(seconds, options.seed, quick=options.quick, kills=kills)
    console = Console()
    console.print(table(report, seconds, options.seed))
    broken = judge(report)
    for promise in broken:
        console.print(f"[red]broken:[/] {promise}")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
