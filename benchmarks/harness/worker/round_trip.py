"""One request at a time."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any

from harness.worker.hogs import Hogs
from harness.worker.meter import latency_figures
from harness.worker.program import Program

__all__ = ["round_trip"]


def round_trip(
    program: Program, *, mode: str, hogs: int, seconds: float, at_least: int = 5, at_most: int = 2000
) -> dict[str, Any]:
    """Call and wait, again and again, for `seconds`."""
    program.warm_up()
    params = program.params(128)
    prompts = program.prompts(at_most, 512)
    sampling_client = program.sampling_client
    latencies: list[float] = []
    deadline = perf_counter() + seconds

    def more() -> bool:
        return len(latencies) < at_least or (len(latencies) < at_most and perf_counter() < deadline)

    def run_sync() -> None:
        while more():
            asked = perf_counter()
            sampling_client.sample(next(prompts), 1, params).result()
            latencies.append(perf_counter() - asked)

    async def run_async() -> None:
        while more():
            asked = perf_counter()
            await sampling_client.sample_async(next(prompts), 1, params)
            latencies.append(perf_counter() - asked)

    with Hogs(hogs):
        run_sync() if mode == "sync" else asyncio.run(run_async())
    return {**latency_figures(latencies), "calls": len(latencies)}
