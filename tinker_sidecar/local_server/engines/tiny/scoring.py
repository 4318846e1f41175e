"""What a request asked about its prompt, from the model's distributions over the prompt's tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tinker_sidecar.local_server.engines import GenerationRequest, GenerationResult, TopKRows
from tinker_sidecar.local_server.engines.tiny.sampling import SamplingSettings, sample, top_tokens

if TYPE_CHECKING:
    from tinker_sidecar.local_server.engines.tiny.model import FloatArray

__all__ = ["asks_about_prompt", "score_prompt"]


def asks_about_prompt(request: GenerationRequest) -> bool:
    """Whether the prompt has to be scored at all."""
    return bool(
        request.prompt_logprobs
        or request.topk_prompt_logprobs
        or request.target_prompt_tokens is not None
        or request.prompt_alt_tokens_k
    )


def score_prompt(
    request: GenerationRequest, logprobs: FloatArray, rng: np.random.Generator
) -> GenerationResult:
    """A result without completions yet. Row `i` of `logprobs` [len(prompt) - 1, V] foresees token `i + 1`."""
    result = GenerationResult(completions=[])
    skipped = _skipped(request)
    if request.prompt_logprobs:
        scores = logprobs[np.arange(len(logprobs)), request.prompt[1:]]
        result = replace(result, prompt_logprobs=[None] * skipped + scores[skipped - 1 :].tolist())
    if k := request.topk_prompt_logprobs:
        rows = [None] * skipped + top_tokens(logprobs[skipped - 1 :], k)
        result = replace(result, topk_prompt_logprobs=TopKRows(k, rows))
    if request.target_prompt_tokens is not None:
        result = replace(
            result, target_prompt_logprobs=_target_logprobs(request.target_prompt_tokens, logprobs)
        )
    if request.prompt_alt_tokens_k:
        tokens, alt_logprobs = _alternatives(request, logprobs, rng)
        result = replace(result, prompt_alt_tokens=tokens, prompt_alt_logprobs=alt_logprobs)
    return result


def _skipped(request: GenerationRequest) -> int:
    """How many of the prompt's tokens get no score: the first never does."""
    length, last_n = len(request.prompt), request.prompt_logprobs_last_n
    return 1 if last_n is None else max(1, length - last_n)


def _target_logprobs(targets: list[list[int]], logprobs: FloatArray) -> list[list[float]]:
    return [
        [float(row[token]) if token >= 0 else 0.0 for token in tokens]
        for tokens, row in zip(targets, logprobs, strict=True)
    ]


def _alternatives(
    request: GenerationRequest, logprobs: FloatArray, rng: np.random.Generator
) -> tuple[list[list[int]], list[list[float]]]:
    """`prompt_alt_tokens_k` independent draws for every token after the first, and their logprobs."""
    k = request.prompt_alt_tokens_k
    repeated = np.repeat(logprobs, k, axis=0)
    draws = len(repeated)
    unfiltered = replace(request, top_k=-1, top_p=1.0)
    tokens = sample(repeated, rng.random(draws), SamplingSettings.of([unfiltered] * draws))
    scores = repeated[np.arange(draws), tokens]
    return tokens.reshape(-1, k).tolist(), scores.reshape(-1, k).tolist()
