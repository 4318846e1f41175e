"""How long to wait before each next try of something that has failed."""

from __future__ import annotations

import random
from collections.abc import Iterator

__all__ = ["delays"]


def delays(base: float = 0.5, longest: float = 10.0, jitter: float = 0.25) -> Iterator[float]:
    """Seconds to wait before each next try: doubling from `base` to `longest`, give or take `jitter`."""
    delay = base
    while True:
        yield min(longest, delay * random.uniform(1 - jitter, 1 + jitter))
        delay = min(longest, delay * 2)
