"""A constant number of requests that want to be answered, for a while."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from harness.worker.program import Program

__all__ = ["load"]


def load(program: Program, *, seconds: float, in_flight: int) -> dict[str, Any]:
    """Have `in_flight` requests unanswered for `seconds`; what came of them the server's records tell.

    Times are of `time.monotonic`.
    """
    client = program.sampling_client
    params = program.params(8)
    [prompt] = program.prompts(1, 8)

    async def ask() -> None:
        while True:
            await client.sample_async(prompt, 1, params)

    async def ask_all() -> dict[str, Any]:
        began = time.monotonic()
        tasks = [asyncio.create_task(ask()) for _ in range(in_flight)]
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
        ended = time.monotonic()
        return {"began": began, "ended": ended}

    return asyncio.run(ask_all())
