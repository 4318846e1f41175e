"""The `tinker-sidecar` command.

Each command is imported when it is run, so that those which an installation has no packages for are in
nobody's way.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from tinker_client.official.launcher import launch
from tinker_sidecar import __version__
from tinker_sidecar.needs import exit_if_missing

__all__ = ["main"]

_COMMANDS = {
    "run": "run a program of the official Tinker SDK with its sampling in the sidecar",
    "serve": "run a Tinker API server on this machine",
    "top": "show your sidecars on this machine, live",
    "stats": "print all that one sidecar knows of itself",
    "report": "make a page that shows where the time went, from a trace",
}

_WITH_AN_EXTRA = ("top", "report")
"""Commands that need more than a plain install has. The extra is named as the command is."""

_RUN = """\
Usage: tinker-sidecar run script.py|-m module [arguments]

Runs a program of the official Tinker SDK with its sampling in the sidecar, as `python -m tinker_client`
does. TINKER_SUBPROCESS_SAMPLING=1 switches it on; without, the program runs as it would by itself.
Processes that it starts do the same. With TINKER_BASE_URL=local they all share a server on this machine.
The program gets its arguments as they are."""


def main() -> None:
    """Run the command with this process's arguments."""
    command, *arguments = sys.argv[1:] or [""]
    if command == "run":
        _run(arguments)
    elif command in _COMMANDS:
        _run_typed(command, arguments)
    else:
        _say_what_there_is()


def _run(arguments: list[str]) -> None:
    if arguments and arguments[0] not in ("-h", "--help"):
        launch(arguments)
    print(_RUN, file=sys.stdout if arguments else sys.stderr)
    sys.exit(0 if arguments else 2)


def _run_typed(name: str, arguments: list[str]) -> None:
    # A worker that only samples lacks typer and the packages of the extra: one line brings both.
    requirement = f"tinker-sidecar[{name}]" if name in _WITH_AN_EXTRA else "tinker-sidecar"
    with exit_if_missing(f"tinker-sidecar {name}", requirement):
        from tinker_sidecar.typed_command import run_command

        command = _load(name)
    run_command(name, command, arguments)


def _load(name: str) -> Callable[..., None]:
    if name == "serve":
        from tinker_sidecar.local_server.command import serve

        return serve
    if name == "report":
        from tinker_sidecar.watch.report import report

        return report
    from tinker_sidecar.watch.commands import stats, top

    return top if name == "top" else stats


def _say_what_there_is() -> None:
    """For `--help`, `--version` and what is no command."""
    parser = argparse.ArgumentParser(
        prog="tinker-sidecar",
        description="Sampling clients for the Tinker API that never stall, and a server to try them on.",
        epilog="`tinker-sidecar COMMAND --help` tells more.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"tinker-sidecar {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, does in _COMMANDS.items():
        commands.add_parser(name, help=does)
    if len(sys.argv) == 1:
        parser.print_help(sys.stderr)
        sys.exit(2)
    parser.parse_args()
    # An option before a command, say: argparse has taken it and would go on.
    parser.error("the command comes first")
