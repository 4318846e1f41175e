"""Keep a number of requests in flight until so many samples have come."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from harness.worker.hogs import Hogs
from harness.worker.meter import Meter, latency_figures
from harness.worker.program import Program

__all__ = ["throughput"]


def throughput(
    program: Program,
    *,
    mode: str,
    samples: int,
    in_flight: int,
    hogs: int = 0,
    prompt_tokens: int = 512,
    max_tokens: int = 128,
) -> dict[str, Any]:
    """`mode` is `sync`, one thread that blocks on `result()`, or `async`, tasks that call `sample_async`."""
    program.warm_up()
    load = _Load(
        program.sampling_client,
        program.params(max_tokens),
        program.prompts(samples, prompt_tokens),
        min(in_flight, samples),
    )
    with Hogs(hogs) as running:
        meter = Meter(running)
        with meter:
            if mode == "sync":
                load.run_sync()
            else:
                asyncio.run(load.run_async())
    assert len(load.latencies) == samples
    assert len(load.last.sequences[0].tokens) == max_tokens, load.last
    return {
        **meter.figures(samples),
        **latency_figures(load.latencies),
        "in_flight": load.in_flight,
        "submit_s": load.submit_seconds,
    }


@dataclass
class _Load:
    sampling_client: Any
    params: Any
    prompts: Iterator[Any]
    in_flight: int
    latencies: list[float] = field(default_factory=list)
    """From the call until the caller has the result."""
    submit_seconds: float = 0.0
    """What it took to call `sample` for the first `in_flight` requests."""
    last: Any = None

    def run_sync(self) -> None:
        sample, params, prompts, latencies = (
            self.sampling_client.sample,
            self.params,
            self.prompts,
            self.latencies,
        )
        waiting: deque[tuple[float, Any]] = deque()
        started = perf_counter()
        for _ in range(self.in_flight):
            waiting.append((perf_counter(), sample(next(prompts), 1, params)))
        self.submit_seconds = perf_counter() - started
        while waiting:
            asked, future = waiting.popleft()
            self.last = future.result()
            latencies.append(perf_counter() - asked)
            if (prompt := next(prompts, None)) is not None:
                waiting.append((perf_counter(), sample(prompt, 1, params)))

    async def run_async(self) -> None:
        started = perf_counter()
        tasks = [asyncio.create_task(self._ask()) for _ in range(self.in_flight)]
        # Runs when each of them has made its first call.
        asyncio.get_running_loop().call_soon(self._note_submitted, started)
        await asyncio.gather(*tasks)

    async def _ask(self) -> None:
        for prompt in self.prompts:
            asked = perf_counter()
            self.last = await self.sampling_client.sample_async(prompt, 1, self.params)
            self.latencies.append(perf_counter() - asked)

    def _note_submitted(self, started: float) -> None:
        self.submit_seconds = perf_counter() - started
