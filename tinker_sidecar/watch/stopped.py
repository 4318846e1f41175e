"""Whether a process is stopped."""

from __future__ import annotations

from pathlib import Path

__all__ = ["is_stopped"]


def is_stopped(pid: int) -> bool:
    """Whether process `pid` is stopped, by a signal or a debugger. False where the system does not tell."""
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    # The second field is the command's name in brackets, and may contain brackets and blanks itself.
    state = status.rpartition(b") ")[2][:1]
    return state in (b"T", b"t")
