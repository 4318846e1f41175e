"""From nothing to the first sample, and what requests in flight weigh."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from harness.worker.program import Program

__all__ = ["connect", "in_flight_memory", "start_up"]


def connect(program: Program) -> dict[str, Any]:
    """Be ready to sample."""
    program.sampling_client  # noqa: B018
    return {}


def start_up(program: Program) -> dict[str, Any]:
    program.peer  # noqa: B018  # Importing it is measured elsewhere.
    started = perf_counter()
    sampling_client = program.sampling_client
    ready = perf_counter()
    [prompt] = program.prompts(1, 512)
    sampling_client.sample(prompt, 1, program.params(128)).result()
    return {"ready_s": ready - started, "first_sample_s": perf_counter() - started}


def in_flight_memory(program: Program, *, requests: int) -> dict[str, Any]:
    """Have `requests` in flight at once. The caller looks at the processes' memory."""
    prompts = list(program.prompts(requests, 512))
    params = program.params(128)
    futures = [program.sampling_client.sample(prompt, 1, params) for prompt in prompts]
    for future in futures:
        future.result()
    return {"requests": requests}
