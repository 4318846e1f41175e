"""`tinker-sidecar top` and `tinker-sidecar stats`."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Any, NoReturn

import msgspec
import typer

from tinker_sidecar.needs import exit_if_missing
from tinker_sidecar.watch.finding import NONE_RUNNING, Seen, ask, ask_all, sidecars
from tinker_sidecar.watch.text import described

__all__ = ["stats", "top"]

_LISTED = 100
"""Requests under way that `stats --json` lists."""


def top(
    once: Annotated[bool, typer.Option("--once", help="Print one picture and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one picture as JSON and end.")] = False,
) -> None:
    """Show your sidecars on this machine, live: who is slow?

    Anew each second, until you press q. If this is not a terminal, one picture is printed. A letter in a bar
    is an eighth of the requests in flight, by where they are: c client, l limits, u submit, s server,
    f fetch, d delivery.
    """
    if as_json:
        print(_json([_plain(seen) for seen in asyncio.run(ask_all())]))
        return
    with exit_if_missing("tinker-sidecar top without --json", "tinker-sidecar[top]"):
        from tinker_sidecar.watch.top import show_live, show_once

    if not once and sys.stdin.isatty() and sys.stdout.isatty():
        show_live()
    elif seen := asyncio.run(ask_all()):
        show_once(seen)
    else:
        print(NONE_RUNNING)


def stats(
    pid: Annotated[int, typer.Argument(metavar="PID", help="The process id of the program or its sidecar.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print it as JSON, with requests under way.")
    ] = False,
) -> None:
    """Print all that one sidecar knows of itself."""
    seen = asyncio.run(_ask_one(pid))
    if seen is None:
        _fail("stats", f"process {pid} is no sidecar of yours and has none")
    if as_json:
        print(_json(_plain(seen)))
    else:
        print(described(seen), end="")
    if seen.stats is None:
        raise typer.Exit(1)


async def _ask_one(pid: int) -> Seen | None:
    for folder, about in sidecars().items():
        if pid in (about.pid, about.program) and (seen := await ask(folder, about, _LISTED)):
            return seen
    return None


def _plain(seen: Seen) -> dict[str, Any]:
    """For JSON."""
    plain: dict[str, Any] = {**msgspec.to_builtins(seen.about), "answers": seen.stats is not None}
    if seen.stats is None:
        return {**plain, "problem": seen.problem}
    return {**plain, "stats": msgspec.to_builtins(seen.stats)}


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value)).decode()


def _fail(command: str, reason: str) -> NoReturn:
    print(f"tinker-sidecar {command}: {reason}", file=sys.stderr)
    raise typer.Exit(1)
