"""The `tinker-sidecar` command."""

from __future__ import annotations

import typer

from tinker_client.official.launcher import launch
from tinker_sidecar.local_server.command import serve

__all__ = ["main"]

_app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
_app.command("serve")(serve)
_ANYTHING = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}


@_app.command("run", context_settings=_ANYTHING)
def run(context: typer.Context) -> None:
    """Run `script.py args` or `-m module args` with the official SDK's sampling in the sidecar.

    As `python -m tinker_client` does; TINKER_SUBPROCESS_SAMPLING=1 switches it on.
    """
    if not context.args:
        raise typer.BadParameter("what is to be run? Give a script, or -m and a module", context)
    launch(context.args)


@_app.callback()
def _tinker_sidecar() -> None:
    """Sampling clients for the Tinker API that never stall, and a server to try them on."""


def main() -> None:
    _app()
