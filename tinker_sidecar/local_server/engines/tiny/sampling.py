"""Choosing tokens from distributions, for many sequences at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinker_sidecar.local_server.engines import GenerationRequest
    from tinker_sidecar.local_server.engines.tiny.model import FloatArray, IntArray

__all__ = ["SamplingSettings", "sample", "top_tokens"]

GREEDY_BELOW = 1e-5
"""Temperatures below this would overflow float32, and mean the likeliest token anyway."""


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """How to sample each of B sequences; every array is [B]."""

    temperature: FloatArray
    top_k: IntArray
    top_p: FloatArray

    @classmethod
    def of(cls, requests: Sequence[GenerationRequest]) -> SamplingSettings:
        """How these requests, one a sequence, want to be sampled."""
        return cls(
            np.array([request.temperature for request in requests], dtype=np.float32),
            np.array([request.top_k for request in requests], dtype=np.int64),
            np.array([request.top_p for request in requests], dtype=np.float32),
        )


def sample(logprobs: FloatArray, uniforms: npt.NDArray[np.float64], settings: SamplingSettings) -> IntArray:
    """One token [B] for each distribution [B, V]: temperature first, then top_k, then top_p.

    `uniforms` [B], in [0, 1), is all the chance there is: the same row and number give the same token.
    """
    greedy = settings.temperature < GREEDY_BELOW
    scaled = logprobs / np.where(greedy, 1, settings.temperature)[:, None]
    weights = np.exp(scaled - scaled.max(-1, keepdims=True))
    filtered = np.flatnonzero(~greedy & ((settings.top_k > 0) | (settings.top_p < 1)))
    if len(filtered):
        weights[filtered] = _restrict(weights[filtered], settings.top_k[filtered], settings.top_p[filtered])
    cumulative = weights.cumsum(-1, dtype=np.float64)
    drawn: IntArray = (cumulative <= uniforms[:, None] * cumulative[:, -1:]).sum(-1)
    return np.where(greedy, logprobs.argmax(-1), drawn)


def top_tokens(logprobs: FloatArray, k: int) -> list[list[tuple[int, float]]]:
    """The `k` likeliest `(token, logprob)` of each row [N, V], likeliest first."""
    tokens = np.argsort(-logprobs, axis=-1, kind="stable")[:, :k]
    values = np.take_along_axis(logprobs, tokens, axis=-1)
    return [list(zip(*row, strict=True)) for row in zip(tokens.tolist(), values.tolist(), strict=True)]


def _restrict(weights: FloatArray, top_k: IntArray, top_p: FloatArray) -> FloatArray:
    """Zero all but each row's `top_k` heaviest, and of those all but the fewest that hold `top_p` of it."""
    order = np.argsort(-weights, axis=-1, kind="stable")
    ranked = np.take_along_axis(weights, order, axis=-1)
    ranked[(top_k > 0)[:, None] & (np.arange(ranked.shape[-1]) >= top_k[:, None])] = 0
    heavier = ranked.cumsum(-1) - ranked
    ranked[heavier >= top_p[:, None] * ranked.sum(-1, keepdims=True)] = 0
    kept = np.empty_like(weights)
    np.put_along_axis(kept, order, ranked, axis=-1)
    return kept
