"""What every benchmark does: read its options, go through its rounds, show and keep what came of them."""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from harness.bars import Bar, bars_table
from harness.machine import describe_machine
from harness.peers import PEERS, QUICK_PEERS, Peer
from harness.runs import Figures, Runs
from harness.workers import Worker, WorkerFailedError, start_worker
from tinker_client.local_server import start_local_server

__all__ = ["Benchmark"]

OUTPUT = Path(__file__).parents[2] / "out" / "bench"


class Benchmark:
    """One run of one script. `runs` has the figures, `peers` who takes part.

    That is `among` and `also`; of a `quick` run where nobody was named, who of `among` is in `QUICK_PEERS`.
    """

    def __init__(
        self,
        name: str,
        description: str | None,
        also: tuple[Peer, ...] = (),
        among: tuple[Peer, ...] = PEERS,
    ) -> None:
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("--quick", action="store_true", help="a smoke of seconds, without judgement")
        parser.add_argument("--rounds", type=int, help="how often each point is measured")
        parser.add_argument("--url", help="a Tinker server to use instead of a simulation on this machine")
        parser.add_argument("--base-model", default="tinker-sidecar/sim", help="which of its models")
        parser.add_argument("--peers", help="only those whose names contain one of these words (a,b,…)")
        parser.add_argument("--output", type=Path, help="where JSON and plots go")
        options = parser.parse_args()
        self.name = name
        self.quick: bool = options.quick
        asked = (*among, *also)
        if self.quick and options.peers is None:
            asked = tuple(peer for peer in QUICK_PEERS if peer in among)
        self.peers = [peer for peer in asked if _wanted(peer, options.peers)]
        self.runs = Runs()
        # A smoke must not replace what was measured.
        self._output: Path = options.output or (OUTPUT / "quick" if self.quick else OUTPUT)
        self.plot = self._output / f"{name}.png"
        self._rounds: int | None = options.rounds
        self._url: str | None = options.url
        self._model: str = options.base_model
        self._machine = describe_machine()
        self._console = Console(width=None if Console().is_terminal else 150)
        self._status = self._console.status(name)
        self._install()
        self._output.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def server(self, *arguments: str) -> Iterator[str]:
        """The URL of a `sim` server started with `arguments`, or of the one the user named."""
        if self._url:
            yield self._url
        else:
            with closing(start_local_server("sim", *arguments)) as server:
                yield server.base_url

    def rounds(self, full: int) -> Iterable[int]:
        """The numbers of the rounds: `full` of them unless the user said otherwise."""
        count = self._rounds or (1 if self.quick else full)
        with self._status:
            for number in range(1, count + 1):
                self._status.update(f"{self.name}: round {number} of {count}")
                yield number

    def in_full(self, peer: Peer) -> bool:
        """Whether `peer` does the longer parts, too: in a smoke, only ours do."""
        return not (self.quick and peer.version)

    def worker(self, peer: Peer, base_url: str, **variables: str) -> closing[Worker]:
        """A context manager with a new process for `peer`, which has `variables` in its environment."""
        return start_worker(peer, base_url, self._model, variables)

    def ask(self, worker: Worker, task: str, **settings: Any) -> Figures | None:
        """The figures of `task`; None, and a word to the user, if the worker failed."""
        try:
            return worker.ask(task, **settings)
        except WorkerFailedError as failure:
            self._console.print(f"{self.name}, {settings}: {failure}", style="red", markup=False)
            return None

    def measure(self, worker: Worker, peer: Peer, point: Any, task: str, **settings: Any) -> Figures | None:
        """Ask for `task` and keep its figures under `point`."""
        figures = self.ask(worker, task, **settings)
        if figures is not None:
            self.runs.add(peer, point, figures)
        return figures

    def report(self, tables: list[Table], bars: list[Bar]) -> None:
        """Print everything and write it to `out/bench/NAME.json`; the plot is the caller's."""
        judged = [replace(bar, enforced=not self.quick) for bar in bars]
        machine = ", ".join(f"{name} {value}" for name, value in self._machine.items())
        for table in tables:
            self._console.print(table)
        if judged:
            self._console.print(bars_table(judged))
        self._console.print(f"[dim]{machine}")
        results = {
            "benchmark": self.name,
            "machine": self._machine,
            "runs": self.runs.as_records(),
            "bars": [bar.as_record() for bar in judged],
        }
        path = self._output / f"{self.name}.json"
        path.write_text(json.dumps(results, indent=1))
        self._console.print(f"Every run: {path}. Plot: {self.plot}\n")

    def _install(self) -> None:
        for peer in list(self.peers):
            try:
                peer.install()
            except (subprocess.CalledProcessError, OSError) as error:
                self._console.print(f"[red]{peer.name} is left out, it cannot be installed: {error}")
                self.peers.remove(peer)


def _wanted(peer: Peer, words: str | None) -> bool:
    return words is None or any(word.strip() in peer.name for word in words.split(","))
