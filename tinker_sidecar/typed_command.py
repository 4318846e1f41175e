"""A function with typer's annotations, run as a command."""

from __future__ import annotations

from collections.abc import Callable

import typer

__all__ = ["run_command"]


def run_command(name: str, function: Callable[..., None], arguments: list[str]) -> None:
    """Run `tinker-sidecar NAME` with these arguments, and end the program as the command ends."""
    # Without rich's boxes: they take a screen more, and a program that starts a server passes on the last
    # line of what that says.
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(name)(function)
    app(arguments, prog_name=f"tinker-sidecar {name}")
