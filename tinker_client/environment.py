"""Variables that a library reads when it is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

__all__ = ["variables"]


@contextmanager
def variables(wanted: Mapping[str, str]) -> Iterator[None]:
    """Have them in the environment within the block; those that the user has set stay as they are."""
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
