"""`tinker-sidecar report`: a page on where the time went, made of a trace."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from tinker_sidecar.needs import exit_if_missing
from tinker_sidecar.watch.trace_files import NotOurTraceError, traces_of_others
from tinker_sidecar.watch.trace_reading import Recording, read_trace

__all__ = ["report"]

_NAME = "tinker-sidecar report"


def report(
    trace: Annotated[
        Path,
        typer.Argument(
            metavar="TRACE", help="What TINKER_SIDECAR_TRACE named. Its older parts are found beside it."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where the page goes: beside the trace.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make a page that shows where the time went, from a trace.

    It is one file that needs no network: stages in all and over time, the slowest requests, who held the GIL,
    and what to do about it.
    """
    recording = _read(trace)
    output = output or trace.with_suffix(".html")
    if output.exists() and output.samefile(trace):
        _refuse("the page would overwrite the trace: name another file with -o")
    with exit_if_missing("tinker-sidecar report", "tinker-sidecar[report]"):
        from tinker_sidecar.watch.report_page import page_of
    try:
        output.write_text(page_of(recording))
    except OSError as error:
        _refuse(f"cannot write {output}: {error.strerror}")
    print(output)
    if others := traces_of_others(trace):
        names = ", ".join(other.name for other in others)
        print(f"{_NAME}: not in it are the traces of other processes beside it: {names}", file=sys.stderr)


def _read(trace: Path) -> Recording:
    """What there is to report. Ends the program with one line if that is nothing."""
    try:
        recording = read_trace(trace)
    except NotOurTraceError as error:
        _refuse(f"cannot report on {trace}: {error}")
    except OSError as error:
        _refuse(f"cannot read {trace}: {error.strerror}")
    if not (recording.requests or recording.spans or recording.last_counters):
        _refuse(f"cannot report on {trace}: nothing had happened yet when it ended")
    return recording


def _refuse(reason: str) -> NoReturn:
    print(f"{_NAME}: {reason}", file=sys.stderr)
    raise typer.Exit(1)
