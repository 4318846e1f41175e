"""What the local server needs of something that generates tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Completion", "GenerationEngine", "GenerationRequest", "GenerationResult", "TopKRows"]


@dataclass(frozen=True, slots=True)
class TopKRows:
    """The `k` likeliest tokens at each of `n` positions; a row of `None` was not computed.

    Rows hold `(token_id, logprob)` pairs, likeliest first.
    """

    k: int
    rows: list[list[tuple[int, float]] | None]


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One validated request: every limit of the model has been checked already."""

    prompt: list[int]
    num_samples: int
    max_tokens: int
    temperature: float = 1.0
    top_k: int = -1
    top_p: float = 1.0
    seed: int | None = None
    stop_strings: list[str] = field(default_factory=list)
    stop_tokens: list[int] = field(default_factory=list)
    prompt_logprobs: bool = False
    prompt_logprobs_last_n: int | None = None
    topk_prompt_logprobs: int = 0
    topk_sample_logprobs: int = 0
    target_prompt_tokens: list[list[int]] | None = None
    """Row `i` names token ids to score at prompt position `i + 1`; -1 asks for nothing."""
    prompt_alt_tokens_k: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled sequence. `logprobs` has one entry a token, of the untempered distribution."""

    tokens: list[int]
    logprobs: list[float]
    stop_reason: str
    topk_logprobs: TopKRows | None = None


@dataclass(frozen=True, slots=True)
class GenerationResult:
    """What `generate` returns: `num_samples` completions and what was asked about the prompt."""

    completions: list[Completion]
    prompt_logprobs: list[float | None] | None = None
    """One entry a prompt token; `None` where not computed (always the first)."""
    topk_prompt_logprobs: TopKRows | None = None
    target_prompt_logprobs: list[list[float]] | None = None
    """Same shape as `target_prompt_tokens`; 0.0 where it held -1."""
    prompt_alt_tokens: list[list[int]] | None = None
    prompt_alt_logprobs: list[list[float]] | None = None
    prompt_cache_hit_tokens: int = 0


class GenerationEngine(Protocol):
    """A source of tokens. `generate` runs on the server's event loop and must not block it."""

    base_model: str
    vocab_size: int
    max_context_length: int

    async def generate(self, request: GenerationRequest) -> GenerationResult:
        """The result of one request, which has been validated."""

    async def close(self) -> None:
        """Give back what it has taken; it is not used again."""
