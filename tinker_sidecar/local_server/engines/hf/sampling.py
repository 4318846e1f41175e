"""Choosing tokens from distributions on the model's device: what `tiny` would choose by the same chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinker_sidecar.local_server.engines import GenerationRequest

__all__ = ["SamplingTensors", "draw", "likeliest"]

GREEDY_BELOW = 1e-5
"""Temperatures below this would overflow float32, and mean the likeliest token anyway."""


@dataclass(frozen=True, slots=True)
class SamplingTensors:
    """How to sample each of B sequences; every tensor is [B]."""

    temperature: torch.Tensor
    top_k: torch.Tensor
    top_p: torch.Tensor
    restricted: bool
    """Whether any of them has a `top_k` or `top_p`: to sort a vocabulary takes its time."""

    @classmethod
    def of(cls, requests: Sequence[GenerationRequest], device: torch.device) -> SamplingTensors:
        """How these requests, one a sequence, want to be sampled."""
        return cls(
            torch.tensor([request.temperature for request in requests], dtype=torch.float32, device=device),
            torch.tensor([request.top_k for request in requests], device=device),
            torch.tensor([request.top_p for request in requests], dtype=torch.float32, device=device),
            any(request.top_k > 0 or request.top_p < 1 for request in requests),
        )


def draw(logprobs: torch.Tensor, uniforms: list[float], settings: SamplingTensors) -> torch.Tensor:
    """One token [B] for each distribution [B, V]: temperature first, then top_k, then top_p.

    `uniforms`, B numbers in [0, 1), are all the chance there is.
    """
    greedy = settings.temperature < GREEDY_BELOW
    scaled = logprobs / settings.temperature.masked_fill(greedy, 1)[:, None]
    weights = (scaled - scaled.amax(-1, keepdim=True)).exp()
    if settings.restricted:
        weights = _restrict(weights, settings.top_k, settings.top_p)
    # Apple's GPUs have no float64.
    precise = torch.float32 if weights.device.type == "mps" else torch.float64
    cumulative = weights.cumsum(-1, dtype=precise)
    points = torch.tensor(uniforms, dtype=precise, device=weights.device)[:, None] * cumulative[:, -1:]
    drawn = torch.searchsorted(cumulative, points, right=True)[:, 0]
    # A draw close to 1 may be rounded to it: the last token that can come is the last with a weight.
    last = torch.searchsorted(cumulative, cumulative[:, -1:].contiguous())[:, 0]
    return torch.where(greedy, logprobs.argmax(-1), torch.minimum(drawn, last))


def likeliest(logprobs: torch.Tensor, k: int) -> list[list[tuple[int, float]]]:
    """The `k` likeliest `(token, logprob)` of each row [N, V], likeliest first."""
    values, tokens = logprobs.topk(min(k, logprobs.shape[-1]))
    return [list(zip(*row, strict=True)) for row in zip(tokens.tolist(), values.tolist(), strict=True)]


def _restrict(weights: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Zero all but each row's `top_k` heaviest, and of those all but the fewest that hold `top_p` of it."""
    ranked, order = weights.sort(dim=-1, descending=True, stable=True)
    ranks = torch.arange(ranked.shape[-1], device=ranked.device)
    ranked = ranked.masked_fill((top_k > 0)[:, None] & (ranks >= top_k[:, None]), 0)
    heavier = ranked.cumsum(-1) - ranked
    ranked = ranked.masked_fill(heavier >= top_p[:, None] * ranked.sum(-1, keepdim=True), 0)
    return torch.zeros_like(weights).scatter(-1, order, ranked)
