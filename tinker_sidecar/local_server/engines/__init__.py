"""What the local server needs of something that generates tokens: a `GenerationEngine`.

`tinker-sidecar serve --engine package.module:Class` serves one of your own; docs/engines.md has how to
write it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tinker_sidecar.local_server.wire import SampleRequest

__all__ = [
    "Completion",
    "GenerationEngine",
    "GenerationError",
    "GenerationRequest",
    "GenerationResult",
    "Refusal",
    "TopKRows",
    "UnavailableEngineError",
]


class UnavailableEngineError(Exception):
    """An engine cannot be opened, for lack of a file or a library, say. One line, for the user."""


class GenerationError(Exception):
    """The engine cannot answer this request, and the request is at fault: the caller is told the message.

    Anything else that `generate` raises counts as the engine's own mistake, and is logged with its traceback.
    """


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why no request is taken for now, as the HTTP `status` 429 or 503; `retry_after` is seconds."""

    status: int
    reason: str
    retry_after: float | None = None


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
    """Token ids."""
    num_samples: int
    max_tokens: int
    """Of each sample; with the prompt they fit in the context."""
    temperature: float = 1.0
    top_k: int = -1
    top_p: float = 1.0
    seed: int | None = None
    """Two requests that are equal, seed included, should have the same result."""
    stop_strings: list[str] = field(default_factory=list)
    """A sample ends with the token that completes one, and has that token."""
    stop_tokens: list[int] = field(default_factory=list)
    """A sample ends with one of them, and has it."""
    prompt_logprobs: bool = False
    prompt_logprobs_last_n: int | None = None
    """Only so many positions, at the end of the prompt, need to have logprobs."""
    topk_prompt_logprobs: int = 0
    topk_sample_logprobs: int = 0
    target_prompt_tokens: list[list[int]] | None = None
    """Row `i` names token ids to score at prompt position `i + 1`; -1 asks for nothing."""
    prompt_alt_tokens_k: int = 0
    """How many alternatives to name at each prompt position after the first."""
    base_model: str = ""
    """What the client called the model."""
    model_path: str | None = None
    """The weights that the client named, `tinker://…`, if it did."""
    body: SampleRequest | None = None
    """The request as it came: it has the images of a prompt, which in `prompt` are placeholders."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled sequence. `logprobs` has one entry a token, of the untempered distribution."""

    tokens: list[int]
    logprobs: list[float]
    stop_reason: str
    """`"stop"`, or `"length"` where `max_tokens` ended it."""
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
    """What clients call the model; `get_tokenizer` of a client looks for a tokenizer of this name."""
    vocab_size: int
    """Token ids are smaller than that."""
    max_context_length: int
    """Tokens of a prompt and a sample together."""

    async def generate(self, request: GenerationRequest) -> GenerationResult:
        """The result of one request, which has been validated. Many calls run at once, one for each request.

        Cancelled when nobody waits for the result any more. Raises `GenerationError` for what it cannot do.
        """

    async def close(self) -> None:
        """Give back what it has taken; it is not used again."""
