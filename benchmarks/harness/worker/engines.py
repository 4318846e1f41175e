"""Keep a number of requests in flight that any engine can answer, each of them another one."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any

from harness.worker.program import Program

__all__ = ["sample_engine"]


def sample_engine(program: Program, *, samples: int, in_flight: int) -> dict[str, Any]:
    """64 prompt tokens and up to 32 back, by tasks that call `sample_async`. The tokens are bytes."""
    client = program.sampling_client
    types = program.peer.types
    params = types.SamplingParams(max_tokens=32, temperature=1.0, seed=1)
    prompts = iter([types.ModelInput.from_ints(_prompt(number)) for number in range(samples)])
    tokens = 0

    async def ask() -> None:
        nonlocal tokens
        for prompt in prompts:
            response = await client.sample_async(prompt, 1, params)
            tokens += len(response.sequences[0].tokens)

    async def ask_all() -> float:
        began = perf_counter()
        await asyncio.gather(*[ask() for _ in range(in_flight)])
        return perf_counter() - began

    seconds = asyncio.run(ask_all())
    return {"samples_per_s": samples / seconds, "tokens_per_s": tokens / seconds}


def _prompt(number: int) -> list[int]:
    """64 bytes, which say which one it is."""
    return [*number.to_bytes(4, "little"), *range(60)]
