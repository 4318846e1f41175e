"""`python -m tinker_sidecar.local_server` is `tinker-sidecar serve`."""

from __future__ import annotations

import typer

from tinker_sidecar.local_server.command import serve

if __name__ == "__main__":
    # Without boxes: a program that starts a server passes on the last line of what that says.
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command("serve")(serve)
    app()
