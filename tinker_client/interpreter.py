"""This package needs CPython 3.11 or newer, with its GIL, and says so at its import.

Older Pythons read this file, too, before they stumble over the next one.
"""

from __future__ import annotations

import sys

__all__: list[str] = []


def _require() -> None:
    version = tuple(sys.version_info[:2])
    if sys.implementation.name != "cpython" or version < (3, 11):
        raise ImportError(
            f"tinker_client needs CPython 3.11 or newer, and this is {sys.implementation.name} "
            f"{version[0]}.{version[1]} ({sys.executable}): install it into an environment of such a Python, "
            "made with `python3.11 -m venv`"
        )
    # Sockets, futures and the roles in the channel are shared between threads without a lock of their own,
    # because one thread runs at a time. `docs/architecture.md` lists all that relies on it.
    is_enabled = getattr(sys, "_is_gil_enabled", None)
    if is_enabled is not None and not is_enabled():
        raise ImportError(
            "tinker_client does not support free-threaded Python yet: run this program with PYTHON_GIL=1 in "
            "its environment (or `python -X gil=1`), or with an interpreter that is not free-threaded"
        )


_require()
