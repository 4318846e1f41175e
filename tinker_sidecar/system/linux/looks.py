"""Permitting a process of ours to look at this program, to see who holds its GIL."""

from __future__ import annotations

import contextlib
import ctypes

__all__ = ["permit_looks"]

_PR_SET_PTRACER = 0x59616D61
"""Of `prctl`, in Linux's interface: the letters "Yama"."""


def permit_looks(pid: int) -> None:
    """Have process `pid`, and those that it starts, look at this one.

    Many Linux distributions forbid processes to look into the memory of any but their own children (the
    security module Yama, `kernel.yama.ptrace_scope` 1), and a sidecar is a child that looks at its parent.
    Where Yama is not, there is nothing to permit, and the call fails, which does not matter. One process at a
    time is permitted, and it still has to be the same user's.
    """
    with contextlib.suppress(OSError, AttributeError):  # No such function in this C library.
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, *map(ctypes.c_ulong, (pid, 0, 0, 0)))
