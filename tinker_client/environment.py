"""Variables that a library which is not Python's reads when it is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

__all__ = ["variables"]


@contextmanager
def variables(wanted: Mapping[str, str]) -> Iterator[None]:
    """Have them within the block; those that the user has set stay as they are.

    `os.environ` does not show them: another thread that copies it must not see them go.
    """
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    for name, value in added.items():
        os.putenv(name, value)
    try:
        yield
    finally:
        for name in added:
            os.unsetenv(name)
