"""The checks on a sampling call's arguments, and the message they become."""

from __future__ import annotations

from typing import Any

from tinker_client.types import ModelInput, SamplingParams, TensorData
from tinker_client.types._checks import as_int
from tinker_sidecar.protocol import Sample, TextChunk

__all__ = ["build_request", "logprobs_arguments"]

_MOST = 2**31 - 1
_ONE_TOKEN = SamplingParams(max_tokens=1)


def logprobs_arguments(prompt: Any, prompt_logprobs_last_n: Any = None) -> tuple[Any, ...]:
    """The arguments of the `sample` call that a `compute_logprobs` call amounts to, in order."""
    return (prompt, 1, _ONE_TOKEN, True, 0, 0, None, 0, prompt_logprobs_last_n)


def build_request(
    request: int,
    sampler: int,
    n: int,
    prompt: ModelInput,
    num_samples: int,
    sampling_params: SamplingParams,
    include_prompt_logprobs: bool,
    topk_prompt_logprobs: int,
    topk_sample_logprobs: int,
    target_prompt_logprobs: TensorData | None,
    prompt_alt_tokens_k: int,
    prompt_logprobs_last_n: int | None,
    record_stability_info: bool = False,
) -> Sample:
    """The message for request number `request`. Raises `TypeError` or `ValueError`, naming the argument."""
    prompt = ModelInput.coerce(prompt)
    params = SamplingParams.coerce(sampling_params)
    chunks = prompt.to_wire()
    for chunk in chunks:
        if not isinstance(chunk, TextChunk) or chunk.tokens:
            break
    else:
        raise ValueError("prompt is empty: it needs at least one token")
    target = None
    if target_prompt_logprobs is not None:
        target = _checked_target(TensorData.coerce(target_prompt_logprobs)).to_wire()
    if prompt_logprobs_last_n is not None:
        as_int("prompt_logprobs_last_n", prompt_logprobs_last_n, "a positive int or None", (1, _MOST))
        if not include_prompt_logprobs:
            raise ValueError(
                "prompt_logprobs_last_n applies to prompt logprobs: set include_prompt_logprobs=True"
            )
    return Sample(
        request,
        sampler,
        n,
        chunks,
        as_int("num_samples", num_samples, "an int, 1 or more", (1, _MOST)),
        params.to_wire(),
        bool(include_prompt_logprobs),
        as_int("topk_prompt_logprobs", topk_prompt_logprobs, "an int, 0 or more", (0, _MOST)),
        as_int("topk_sample_logprobs", topk_sample_logprobs, "an int, 0 or more", (0, _MOST)),
        target,
        as_int("prompt_alt_tokens_k", prompt_alt_tokens_k, "an int, 0 or more", (0, _MOST)),
        prompt_logprobs_last_n,
        record_stability_info,
    )


def _checked_target(target: TensorData) -> TensorData:
    if target.dtype != "int64":
        raise ValueError(
            f"target_prompt_logprobs must be an int64 tensor of token ids, got dtype {target.dtype}"
        )
    if target.shape is None or len(target.shape) != 2:
        raise ValueError(
            f"target_prompt_logprobs must have shape [len(prompt) - 1, K], got shape {target.shape}"
        )
    return target
