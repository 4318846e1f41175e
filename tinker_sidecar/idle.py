"""What a sidecar does when it has nothing to do: it gives back the memory that it needed."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from time import process_time

from tinker_sidecar.supervision import go_on
from tinker_sidecar.system import give_back_memory

__all__ = ["give_back_memory_when_idle"]

_LOOK_EVERY = 10.0
"""Seconds between looks."""

_IDLE = 0.01
"""The share of a core that an idle sidecar takes at most: for heartbeats, and the like."""

_WORTH_IT = 0.1
"""Seconds of CPU that must have been used since the last time. To collect garbage takes a fifth of that."""


async def give_back_memory_when_idle(is_busy: Callable[[], bool]) -> None:
    """Look for ever whether no request is under way (`is_busy`) and there is nothing else to do, either.

    Garbage is then collected, too: a sidecar at work does that so rarely that what was needed for long, such
    as samplers, would stay for hours.
    """
    tidied = used = process_time()

    async def look() -> bool:
        nonlocal tidied, used
        await asyncio.sleep(_LOOK_EVERY)
        before, used = used, process_time()
        is_idle = used - before < _IDLE * _LOOK_EVERY and not is_busy()
        if is_idle and used - tidied > _WORTH_IT:
            gc.collect()
            give_back_memory()
            tidied = process_time()
        return True

    await go_on("looks for memory to give back", look)
