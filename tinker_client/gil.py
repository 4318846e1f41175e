"""This package needs the GIL, and says so at its import."""

from __future__ import annotations

import sys

__all__: list[str] = []


def _require() -> None:
    # Sockets, futures and the roles in the channel are shared between threads without a lock of their own,
    # because one thread runs at a time. `docs/architecture.md` lists all that relies on it.
    is_enabled = getattr(sys, "_is_gil_enabled", None)
    if is_enabled is not None and not is_enabled():
        raise ImportError(
            "tinker_client does not support free-threaded Python yet: run this program with PYTHON_GIL=1 in "
            "its environment (or `python -X gil=1`), or with an interpreter that is not free-threaded"
        )


_require()
