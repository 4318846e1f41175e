"""Big prompts and big results: what moving and holding them costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.worker.hogs import Hogs
from harness.worker.meter import Meter
from harness.worker.program import Program

__all__ = ["payload"]


def payload(
    program: Program, *, requests: int, prompt_tokens: int, num_samples: int, topk_prompt_logprobs: int
) -> dict[str, Any]:
    """Ask for `requests` results at once and keep them all, unread."""
    program.warm_up()
    params = program.params(128)
    prompts = list(program.prompts(requests, prompt_tokens))
    asked = (
        {"include_prompt_logprobs": True, "topk_prompt_logprobs": topk_prompt_logprobs}
        if topk_prompt_logprobs
        else {}
    )
    before = _peak_memory() + _mapped_unseen()
    meter = Meter(Hogs(0))
    with meter:
        futures = [program.sampling_client.sample(prompt, num_samples, params, **asked) for prompt in prompts]
        results = [future.result() for future in futures]
    # The most is held at the end, so what is only mapped then adds to the peak.
    peak = _peak_memory() + _mapped_unseen()
    for result in results:
        assert [len(sequence.tokens) for sequence in result.sequences] == [128] * num_samples
    if topk_prompt_logprobs:
        assert len(results[-1].topk_prompt_logprobs[-1]) == topk_prompt_logprobs
    return {**meter.figures(requests), "client_peak_mb": (peak - before) / 1e6}


def _peak_memory() -> int:
    """Bytes: the most this process has had resident."""
    status = Path("/proc/self/status").read_text()
    [peak] = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(peak) * 1024


def _mapped_unseen() -> int:
    """Bytes of anonymous files mapped but not touched yet.

    A result that another process wrote there takes memory, though it does not count as resident.
    """
    unseen, of_file = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, *values = line.split()
        if not name.endswith(":"):  # A mapping's first line; its figures follow.
            of_file = "memfd:" in line
        elif of_file and name == "Size:":
            unseen += int(values[0])
        elif of_file and name == "Rss:":
            unseen -= int(values[0])
    return unseen * 1024
