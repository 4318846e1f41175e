"""Run one command in both hosts, against one server on this machine, and show what came of each."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import mean, quantiles

from measurements import Run, Session, newest_session
from rich.console import Console
from rich.table import Table
from timelines import plot_timelines

from tinker_client.local_server import start_local_server
from tinker_sidecar.ipc.stats import STAGES

__all__ = ["compare_hosts"]

HOSTS = {"in process": "0", "sidecar": "1"}
"""Each host, and the value of TINKER_SUBPROCESS_SAMPLING that chooses it."""

ROWS: dict[str, Callable[[Run, Session], str]] = {
    "samples/s": lambda run, _: f"{len(run.rewards) / _length(run.lasted):.0f}",
    "request latency, p50": lambda run, _: f"{quantiles(run.latencies, n=100)[49]:.1f} s",
    "request latency, p99": lambda run, _: f"{quantiles(run.latencies, n=100)[98]:.1f} s",
    "one regex held the GIL for": lambda run, _: f"{_length(run.gil_held):.1f} s",
    "… the server finished meanwhile": lambda run, session: f"{_finished_meanwhile(run, session)} samples",
    "longest heartbeat gap, as the server saw it": lambda _, session: (
        f"{_length(session.longest_silence):.1f} s"
    ),
    "mean reward": lambda run, _: f"{mean(run.rewards):.3f}",
}


def compare_hosts(command: list[str], plot: Path, engine: str) -> None:
    """Print a table and save a plot of what `command` measures, run once in each host.

    The command saves its `Run` where `--save` says, and calls itself `--title`. `engine` is what the server
    runs; `replay:DIR` has it answer with what was recorded there.
    """
    console = Console()
    name, is_replay, folder = engine.partition("replay:")
    options = ["replay", "--from", folder] if is_replay else [name]
    with closing(start_local_server(*options)) as server, tempfile.TemporaryDirectory() as folder:
        seen = {host: _run_in(host, command, server.base_url, Path(folder) / "run.json") for host in HOSTS}
    console.print(_table(seen))
    console.print(_where_the_time_went(seen))
    plot_timelines(seen, plot)
    console.print(f"Heartbeats and completions over time: {plot}")


def _run_in(host: str, command: list[str], base_url: str, save: Path) -> tuple[Run, Session]:
    """A fresh process for each host, so that neither inherits the other's threads or imports."""
    environment = os.environ | {
        "TINKER_BASE_URL": base_url,
        "TINKER_API_KEY": "tml-local",
        "TINKER_SUBPROCESS_SAMPLING": HOSTS[host],
        "TINKER_SIDECAR_WHO": "1",
    }
    finished = subprocess.run([*command, "--title", host, "--save", str(save)], env=environment)
    if finished.returncode != 0:
        sys.exit(finished.returncode)  # It has said why.
    return Run.load(save), newest_session(base_url)


def _table(seen: dict[str, tuple[Run, Session]]) -> Table:
    table = Table("", *seen)
    for label, cell in ROWS.items():
        table.add_row(label, *(cell(run, session) for run, session in seen.values()))
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _where_the_time_went(seen: dict[str, tuple[Run, Session]]) -> Table:
    """By stage, as `tinker_client.stats()` tells it; "delivery" is the program's own doing."""
    table = Table("where the time went", *seen)
    runs = [run for run, _ in seen.values()]
    for stage in STAGES:
        table.add_row(stage, *(f"{_share(run, stage):.0%}" for run in runs))
    table.add_row("kept waiting by", *("\n".join(run.gil_holders[:1]) or "not seen" for run in runs))
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _share(run: Run, stage: str) -> float:
    return run.stages[stage] / sum(run.stages.values())


def _length(span: tuple[float, float]) -> float:
    return span[1] - span[0]


def _finished_meanwhile(run: Run, session: Session) -> int:
    began, ended = run.gil_held
    return sum(began <= completion <= ended for completion in session.completed) * run.group_size
