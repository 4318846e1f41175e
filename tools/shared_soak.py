"""A seeded run of chaos for programs that share a sidecar: `make soak SOAK_ARGS=--shared`.

In each round of half a minute eight programs, with copies of one client, come and go, and so do others, with
clients of their own, that are killed. Meanwhile the sidecar that they share is killed and stopped, and its
descriptors run out, while one answer in ten goes wrong. Every answer is compared. Once all have left there
must be nothing left of it: no process, no folder.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path

import msgspec
import psutil

import tinker_client
from tests.leaks import belongings, leaked, open_library_runtimes
from tests.sidecars import SHARED, sidecars_in
from tests.waiting import wait_until
from tinker_client import SamplingClient, ServiceClient
from tinker_client.local_server import LocalServer, start_local_server
from tools.load import FAULTS, KEY, MODEL, RETRY, Load, Report, pause

PROGRAMS = 8
ROUND = 30.0
"""Seconds. A sidecar that has died five times in a minute is not replaced, and each round has a new one."""
KILLS = 3
"""In a round."""
LEAVING = 200.0
"""Seconds in which a program that is told to leave must have had all its answers."""


class Result(msgspec.Struct):
    """What a program says last."""

    asked: int
    counts: dict[str, int]
    broken: list[str]


class Program:
    """One that samples without end, with a copy of a client or, without one, with a client of its own."""

    def __init__(self, base_url: str, seed: int, copy: bytes = b"") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tools.shared_soak", base_url, str(seed), copy.hex()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def leave(self) -> None:
        """Have it ask no more, wait for what it has asked, and end."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def result(self) -> Result:
        """What has come of all that it has asked, when it has left."""
        assert self._process.stdout is not None
        with self._process.stdout as output:
            self._process.wait(LEAVING)
            return msgspec.json.decode(output.read(), type=Result)


class Round:
    """A client, the programs that have copies of it, and the sidecar that they share."""

    def __init__(self, server: LocalServer, report: Report, dice: random.Random) -> None:
        self._server, self._report, self._dice = server, report, dice
        self._service_client = ServiceClient(base_url=server.base_url, api_key=KEY)
        client = self._service_client.create_sampling_client(base_model=MODEL, retry_config=RETRY)
        self._session_id = client.session_id
        self._copy = pickle.dumps(client)
        self._asked = 0
        self._kills = KILLS
        self._programs = [self._start(self._copy) for _ in range(PROGRAMS)]
        self._leaving: list[Program] = []

    def _start(self, copy: bytes = b"") -> Program:
        return Program(self._server.base_url, self._dice.randrange(1 << 30), copy)

    # What happens

    def somebody_leaves(self) -> None:
        """And another comes."""
        self._have_leave(self._programs.pop(self._dice.randrange(PROGRAMS)))
        self._programs.append(self._start(self._copy))
        self._report.count("programs that left")

    def somebody_is_killed(self) -> None:
        """One with a client of its own: what it has asked, nobody knows."""
        doomed = self._start()
        time.sleep(self._dice.uniform(0.5, 3))
        doomed.kill()
        self._report.count("programs killed")

    def somebody_stops(self) -> None:
        pause(self._dice.choice(self._programs).pid, self._dice.uniform(0.2, 1.5))
        self._report.count("programs stopped")

    def kill_the_sidecar(self) -> None:
        if not self._kills:
            return
        self._kills -= 1
        old, number = sidecar(), self._dice.choice((signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM))
        old.send_signal(number)
        self._report.count(f"sidecar killed: {number.name}")
        self._report.count("kills")
        wait_until(lambda: any(one != old for one in sidecars()))
        self._report.count("kills survived")

    def stop_the_sidecar(self) -> None:
        pause(sidecar().pid, self._dice.uniform(0.2, 1.5))
        self._report.count("sidecar stopped")

    def run_out_of_descriptors(self) -> None:
        """The sidecar may open no more for a while: who comes just then waits."""
        process = sidecar()
        before = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (process.num_fds(), before[1]))
        time.sleep(self._dice.uniform(0.5, 2))
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, before)
        self._report.count("descriptors ran out")

    # What came of it

    def look_at_memory(self) -> None:
        self._report.memory["shared sidecar"].append(sidecar().memory_info().rss)

    def end(self) -> None:
        """All leave, and with the last of them the sidecar."""
        for program in self._programs:
            self._have_leave(program)
        for program in self._leaving:
            result = program.result()
            self._asked += result.asked
            self._report.counts.update(result.counts)
            self._report.broken += result.broken
        self._read_journal()
        self._service_client.close()
        tinker_client.shutdown()
        wait_until(lambda: not sidecars(), show=sidecars)

    def _have_leave(self, program: Program) -> None:
        program.leave()
        self._leaving.append(program)

    def _read_journal(self) -> None:
        with urllib.request.urlopen(f"{self._server.base_url}/local/journal") as answer:  # noqa: S310
            journal = json.load(answer)
        session = journal["sessions"][self._session_id]
        beats = [session["created"], *session["heartbeats"], journal["now"]]
        gap = max(later - earlier for earlier, later in pairwise(beats))
        self._report.heartbeat_gap = max(self._report.heartbeat_gap, gap)
        self._report.count("done twice", max(0, len(session["submitted"]) - self._asked))


def sidecars() -> list[psutil.Process]:
    """The shared ones of our temporary folder."""
    return sidecars_in(Path(tempfile.gettempdir()), SHARED)


def sidecar() -> psutil.Process:
    """The only one, which there is soon if it has just been killed."""
    found: list[psutil.Process] = []

    def is_there() -> bool:
        found[:] = sidecars()
        return len(found) == 1

    wait_until(is_there, show=sidecars)
    return found[0]


def soak_shared(seconds: float, seed: int, *, kills: bool) -> Report:
    report = Report(memory={"shared sidecar": []})
    dice = random.Random(seed)
    os.environ["TINKER_SIDECAR_LINGER"] = "1"
    os.environ["TINKER_SIDECAR_WHO"] = "0"
    os.environ["TINKER_SIDECAR_MAX_REQUESTS"] = "200"  # Else they could not have their answers in time.
    os.environ.pop("XDG_RUNTIME_DIR", None)
    open_library_runtimes()
    before = belongings()
    deadline = time.monotonic() + seconds
    faults = [argument for fault in FAULTS for argument in ("--fault", fault)]
    behaviour = ["--latency=0.05", "--jitter=0.5", "--long-poll=5", f"--fault-seed={seed}"]
    with closing(start_local_server("sim", *behaviour, *faults)) as server:
        while time.monotonic() < deadline:
            ends = min(deadline, time.monotonic() + ROUND)
            _one_round(Round(server, report, dice), ends, dice, kills=kills)
            report.count("rounds")
    report.counts["leaks"] = len(left := leaked(before))
    report.broken += [f"left behind: {it}" for it in left]
    return report


def _one_round(world: Round, deadline: float, dice: random.Random, *, kills: bool) -> None:
    events = [
        world.somebody_leaves,
        world.somebody_is_killed,
        world.somebody_stops,
        world.stop_the_sidecar,
        world.run_out_of_descriptors,
    ]
    if kills:
        events += [world.kill_the_sidecar] * 2
    while time.monotonic() < deadline:
        time.sleep(dice.uniform(0.5, 2))
        with suppress(psutil.NoSuchProcess, ProcessLookupError):  # It has just ended for another reason.
            world.look_at_memory()
            dice.choice(events)()
    world.end()


def main() -> None:
    """A program: samples until its stdin is closed, and then says what has come of it."""
    base_url, seed, *copy = sys.argv[1:]
    for callbacks in ("tinker_client.callbacks", "concurrent.futures"):
        logging.getLogger(callbacks).disabled = True  # They raise by the hundred.
    if any(copy):
        client: SamplingClient = pickle.loads(bytes.fromhex(copy[0]))  # noqa: S301  # Our own.
    else:
        service_client = ServiceClient(base_url=base_url, api_key=KEY)
        client = service_client.create_sampling_client(base_model=MODEL, retry_config=RETRY)
    logging.disable(logging.WARNING)
    report = Report()
    load = Load(client, report, int(seed))
    sys.stdin.read()
    load.stop()
    sys.stdout.buffer.write(msgspec.json.encode(Result(load.asked, dict(report.counts), report.broken)))


if __name__ == "__main__":
    main()
