"""Background work that outlives its errors, whatever they are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tinker_sidecar.logs import engine_logger
from tinker_sidecar.pauses import delays

__all__ = ["go_on"]

logger = engine_logger(__name__)


async def go_on(what: str, step: Callable[[], Awaitable[bool]]) -> None:
    """Do `step` again and again, until it says that it was the last one.

    A step deals with the errors that it knows. Any other, such as from a machine that is out of descriptors
    for a moment, is logged, and after a pause of 1 to 10 s the next step comes: a session whose heartbeats
    ended with the first surprise would be lost, and all that is in flight with it.
    """
    pauses = delays(1.0)
    while True:
        try:
            if not await step():
                return
            pauses = delays(1.0)
        except Exception as error:
            logger.error("unexpected error in %s, which go on", what, exc_info=error)
            await asyncio.sleep(next(pauses))
