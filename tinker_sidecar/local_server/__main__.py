"""`python -m tinker_sidecar.local_server` is `tinker-sidecar serve`."""

from __future__ import annotations

import sys

from tinker_sidecar.needs import exit_if_missing

if __name__ == "__main__":
    with exit_if_missing("the local server", "tinker-sidecar"):
        from tinker_sidecar.local_server.command import serve
        from tinker_sidecar.typed_command import run_command
    run_command("serve", serve, sys.argv[1:])
