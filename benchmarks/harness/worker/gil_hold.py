"""Submit, then call C code that keeps the GIL."""

from __future__ import annotations

import ctypes
import time
from typing import Any

from harness.worker.program import Program

__all__ = ["gil_hold"]


def gil_hold(program: Program, *, requests: int, seconds: float) -> dict[str, Any]:
    """Times are of `time.monotonic`. The first session of the program is the one that samples."""
    program.warm_up()
    params = program.params(128)
    prompts = list(program.prompts(requests, 512))
    # PyDLL, unlike CDLL, keeps the GIL during the call. A sleep keeps it without heating the machine.
    sleep = ctypes.PyDLL(None).usleep
    submitting = time.monotonic()
    futures = [program.sampling_client.sample(prompt, 1, params) for prompt in prompts]
    held_from = time.monotonic()
    while (left := held_from + seconds - time.monotonic()) > 0:
        sleep(int(left * 1e6) + 1)
    held_until = time.monotonic()
    results = [future.result() for future in futures]
    drained = time.monotonic()
    assert all(len(result.sequences[0].tokens) == 128 for result in results)
    return {
        "submitting": submitting,
        "held_from": held_from,
        "held_until": held_until,
        "drained": drained,
    }
