"""Whether this system has what a sidecar needs at all, and what one that is shared needs besides."""

from __future__ import annotations

import os
import select
import socket
import sys

__all__ = ["why_no_sidecar", "why_not_shared"]


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


def why_not_shared() -> str | None:
    """Why a sidecar cannot be shared here, so that each process has its own; None where it can.

    It watches the programs that share it by pidfds. Those are Linux's, and even there an old kernel lacks
    them, and a container may forbid them.
    """
    if sys.platform != "linux":
        return "that takes Linux"
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:  # Python itself may have been built without.
        return f"that takes pidfds, which are not to be had here ({error})"
    return None
