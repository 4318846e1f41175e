"""What the tests ask for, and how results are compared."""

from __future__ import annotations

from typing import Any

from tinker_client import SamplingClient, types

__all__ = ["EVERYTHING", "ask", "prompt", "said"]

EVERYTHING: dict[str, Any] = {
    "num_samples": 3,
    "include_prompt_logprobs": True,
    "topk_prompt_logprobs": 4,
    "topk_sample_logprobs": 5,
    "prompt_alt_tokens_k": 2,
    "target_prompt_logprobs": types.TensorData(data=[1, 2, 3, -1, 5, 6], dtype="int64", shape=[3, 2]),
}
"""All that can be asked about a prompt of four tokens and its samples."""


def prompt(*tokens: int) -> types.ModelInput:
    return types.ModelInput.from_ints(list(tokens))


def ask(client: SamplingClient, *tokens: int, **options: Any) -> types.SampleResponse:
    """Sample and wait."""
    params = types.SamplingParams(
        max_tokens=options.pop("max_tokens", 8),
        seed=options.pop("seed", 3),
        stop=options.pop("stop", None),
        temperature=options.pop("temperature", 1.0),
    )
    options = {"num_samples": 1, **options}
    return client.sample(prompt(*tokens), sampling_params=params, **options).result(30)


def said(response: types.SampleResponse) -> list[Any]:
    """All of a response but the names that its server gave to the samples."""
    return [
        [(it.stop_reason, it.tokens, it.logprobs, it.topk_logprobs) for it in response.sequences],
        response.prompt_logprobs,
        response.topk_prompt_logprobs,
        response.target_prompt_logprobs,
        response.prompt_alt_tokens,
        response.prompt_cache_hit_tokens,
    ]
