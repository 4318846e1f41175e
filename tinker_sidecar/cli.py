"""The `tinker-sidecar` command."""

from __future__ import annotations

from typing import Annotated

import typer

from tinker_client.official.launcher import launch
from tinker_sidecar import __version__
from tinker_sidecar.local_server.command import serve
from tinker_sidecar.watch.commands import stats, top
from tinker_sidecar.watch.report import report

__all__ = ["main"]

# Without rich's boxes, which take a screen more.
_app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)
_app.command("serve")(serve)
_app.command("top")(top)
_app.command("stats")(stats)
_app.command("report")(report)
_AS_THEY_ARE = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@_app.command("run", context_settings=_AS_THEY_ARE)
def run(
    program: Annotated[
        list[str],
        typer.Argument(
            metavar="script.py|-m module [arguments]",
            help="What you would give to python. The program gets its arguments as they are.",
            show_default=False,
        ),
    ],
) -> None:
    """Run a program of the official Tinker SDK with its sampling in the sidecar.

    As `python -m tinker_client` does. TINKER_SUBPROCESS_SAMPLING=1 switches it on; without, the program
    runs as it would by itself. Processes that it starts do the same. With TINKER_BASE_URL=local they all
    share a server on this machine.
    """
    launch(program)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tinker-sidecar {__version__}")
        raise typer.Exit


@_app.callback()
def _tinker_sidecar(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Sampling clients for the Tinker API that never stall, and a server to try them on."""


def main() -> None:
    """Run the command with this process's arguments."""
    _app(prog_name="tinker-sidecar")
