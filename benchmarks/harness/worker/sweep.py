"""Many samplers in one program, as an evaluation of many checkpoints has them, with a few requests each."""

from __future__ import annotations

import resource
from collections import deque
from time import perf_counter
from typing import Any

from harness.worker.hogs import Hogs
from harness.worker.meter import Meter, latency_figures
from harness.worker.program import Program

__all__ = ["close_samplers", "open_samplers", "sweep"]

_MAX_TOKENS = 128


def open_samplers(program: Program, *, count: int, descriptors: int | None) -> dict[str, Any]:
    """Have `count` samplers, where no more than so many `descriptors` may be open."""
    if descriptors is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    started = perf_counter()
    program.open_sampling_clients(count)
    return {"open_s": perf_counter() - started}


def sweep(program: Program, *, samples: int, in_flight: int) -> dict[str, Any]:
    """Keep `in_flight` requests unanswered, the same number at each sampler, until there are `samples`.

    Those of a sampler are asked for one after the other. One thread waits for the oldest of all, and asks for
    the next at the same sampler; `longest_gap_s` is the longest that it had to wait for one.
    """
    program.warm_up()
    params = program.params(_MAX_TOKENS)
    prompts = program.prompts(samples, 512)
    each = in_flight // len(program.sampling_clients)
    samplers = [sampler for sampler in program.sampling_clients for _ in range(each)]
    waiting = deque[tuple[Any, float, Any]]()
    latencies: list[float] = []
    longest_gap = 0.0
    meter = Meter(Hogs(0))
    with meter:
        for sampler in samplers:
            waiting.append((sampler, perf_counter(), sampler.sample(next(prompts), 1, params)))
        waited_since = perf_counter()
        while waiting:
            sampler, asked, future = waiting.popleft()
            result = future.result()
            now = perf_counter()
            longest_gap, waited_since = max(longest_gap, now - waited_since), now
            latencies.append(now - asked)
            if (prompt := next(prompts, None)) is not None:
                waiting.append((sampler, perf_counter(), sampler.sample(prompt, 1, params)))
    assert len(latencies) == samples
    assert len(result.sequences[0].tokens) == _MAX_TOKENS, result
    return {**meter.figures(samples), **latency_figures(latencies), "longest_gap_s": longest_gap}


def close_samplers(program: Program) -> dict[str, Any]:
    """Let go of all samplers, and of the service client they came from."""
    program.close_sampling_clients()
    return {}
