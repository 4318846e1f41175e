"""Whether this system has what a sidecar needs at all."""

from __future__ import annotations

import select
import socket

__all__ = ["why_no_sidecar"]


def why_no_sidecar() -> str | None:
    """Why no sidecar can run here, and what to do; None where one can, which is on every Unix."""
    needed = {"Unix sockets": hasattr(socket, "AF_UNIX"), "poll()": hasattr(select, "poll")}
    missing = [name for name, is_there in needed.items() if not is_there]
    if not missing:
        return None
    return (
        f"no sidecar can run here, as this system has no {' and no '.join(missing)}: sample in process, "
        "without TINKER_SUBPROCESS_SAMPLING; or run this program on Linux, on macOS or in Windows' WSL"
    )
