"""Whether this system has what a sidecar needs at all."""

from __future__ import annotations

import select
import socket

__all__ = ["check_sidecars_can_run"]


def check_sidecars_can_run() -> None:
    """Raise `RuntimeError` where no sidecar can run: not on a Unix, which on Windows means outside of WSL."""
    missing = [
        name
        for name, is_there in (
            ("Unix sockets", hasattr(socket, "AF_UNIX")),
            ("poll()", hasattr(select, "poll")),
        )
        if not is_there
    ]
    if missing:
        raise RuntimeError(
            f"this system has no {' and no '.join(missing)}, so there can be no sidecar: sample in process, "
            "without TINKER_SUBPROCESS_SAMPLING, or on Linux, macOS or Windows' WSL"
        )
