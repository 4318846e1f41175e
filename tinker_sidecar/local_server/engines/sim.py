"""The `sim` engine: a simulation. No model, only deterministic pseudo-tokens after a delay.

It is for benchmarks and tests: what it says is a function of the request, so that anyone can
recompute what a request must have been answered (`expected_tokens`, `expected_logprobs`), and it
says it so cheaply that it is not what a benchmark measures. Tokens are slices of a fixed table.
The logprob of a token depends on the token alone, so a sampled token has the logprob that
`compute_logprobs` gives it.
"""

from __future__ import annotations

import asyncio
import hashlib
from array import array
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

from tinker_sidecar.local_server.engines import Completion, GenerationResult, TopKRows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tinker_sidecar.local_server.engines import GenerationRequest

__all__ = ["BASE_MODEL", "SimEngine", "expected_logprobs", "expected_tokens"]

BASE_MODEL = "tinker-sidecar/sim"
VOCAB_SIZE = 32_768
MAX_CONTEXT_LENGTH = 131_072

_PERIOD = 65_521
_TOPK_ROWS = 251

T = TypeVar("T")


def _noise(name: str, count: int) -> array[int]:
    """`count` fixed 16-bit numbers, the same on every machine and Python version."""
    return array("H", hashlib.shake_256(name.encode()).digest(2 * count))


_TOKENS = [number % VOCAB_SIZE for number in _noise("tokens", _PERIOD)]
# A multiple of 2^-13 survives float32 and JSON unchanged: every encoding gives the same values.
_LOGPROB_OF_TOKEN = [-(number + 1) / 8192 for number in _noise("logprobs", VOCAB_SIZE)]
_TOKEN_LOGPROBS = [_LOGPROB_OF_TOKEN[token] for token in _TOKENS]


def expected_tokens(prompt: Sequence[int], seed: int | None, index: int, max_tokens: int) -> list[int]:
    """The tokens `sim` answers as sample `index` of a request, when no stop token cuts them short.

    Parameters
    ----------
    prompt
        The prompt's token ids; a chunk that is no text counts as `expected_tokens` (default 1)
        tokens of id 0.
    seed
        The request's seed.
    index
        Which of the request's samples, from 0.
    max_tokens
        How many tokens were asked for: as many come back.
    """
    return _window(_TOKENS, _start(_digest(prompt), seed, index), max_tokens)


def expected_logprobs(tokens: Iterable[int]) -> list[float]:
    """The logprob `sim` gives each of `tokens`, wherever it stands."""
    return list(map(_LOGPROB_OF_TOKEN.__getitem__, tokens))


class SimEngine:
    """Answers each request after ``latency * (1 ± jitter) + longest completion / tokens_per_second``.

    Parameters
    ----------
    latency
        Seconds before a request is answered.
    jitter
        How far the latency of single requests strays from it, as a fraction in [0, 1]; which way
        is a function of the request.
    tokens_per_second
        The pace of each sample; 0 takes no time per token.
    fail_token
        A request whose prompt has this token fails.
    """

    base_model = BASE_MODEL
    vocab_size = VOCAB_SIZE
    max_context_length = MAX_CONTEXT_LENGTH

    def __init__(
        self,
        latency: float = 0.05,
        jitter: float = 0.0,
        tokens_per_second: float = 0.0,
        fail_token: int | None = None,
    ) -> None:
        self._latency = latency
        self._jitter = jitter
        self._tokens_per_second = tokens_per_second
        self._fail_token = fail_token
        self._latest: tuple[list[int], hashlib.blake2b] | None = None

    async def generate(self, request: GenerationRequest) -> GenerationResult:
        """What this request is always answered, after its delay."""
        digest = self._prompt_digest(request.prompt)
        starts = [_start(digest, request.seed, index) for index in range(request.num_samples)]
        completions = [_completion(request, start) for start in starts]
        delay = self._delay(starts[0], max(len(completion.tokens) for completion in completions))
        if delay > 0:
            await asyncio.sleep(delay)
        if self._fail_token is not None and self._fail_token in request.prompt:
            raise ValueError(f"the prompt has token {self._fail_token}, which is set to fail")
        alternatives = _alternatives(request, _TOKENS, starts[0])
        alternative_logprobs = _alternatives(request, _TOKEN_LOGPROBS, starts[0])
        return GenerationResult(
            completions=completions,
            prompt_logprobs=_prompt_logprobs(request),
            topk_prompt_logprobs=_topk_prompt_logprobs(request),
            target_prompt_logprobs=_target_logprobs(request),
            prompt_alt_tokens=alternatives,
            prompt_alt_logprobs=alternative_logprobs,
        )

    async def close(self) -> None:
        """Nothing to give back."""

    def _prompt_digest(self, prompt: list[int]) -> hashlib.blake2b:
        # A group's requests have one and the same list.
        if self._latest is None or self._latest[0] is not prompt:
            self._latest = prompt, _digest(prompt)
        return self._latest[1]

    def _delay(self, start: int, tokens: int) -> float:
        delay = self._latency
        if self._jitter:
            delay *= 1 + self._jitter * (2 * start / _PERIOD - 1)
        if self._tokens_per_second:
            delay += tokens / self._tokens_per_second
        return delay


def _digest(prompt: Sequence[int]) -> hashlib.blake2b:
    return hashlib.blake2b(array("i", prompt), digest_size=8)


def _start(digest: hashlib.blake2b, seed: int | None, index: int) -> int:
    """Where in the tables sample `index` begins."""
    digest = digest.copy()
    digest.update(f"{seed}/{index}".encode())
    return int.from_bytes(digest.digest(), "little") % _PERIOD


def _window(table: list[T], start: int, length: int) -> list[T]:
    """`length` entries from `start` on, going round the table as often as it takes."""
    window = table[start : start + length]
    while len(window) < length:
        window += table[: length - len(window)]
    return window


def _completion(request: GenerationRequest, start: int) -> Completion:
    tokens = _window(_TOKENS, start, request.max_tokens)
    stops = [tokens.index(stop) for stop in request.stop_tokens if stop in tokens]
    if stops:
        tokens = tokens[: min(stops) + 1]
    return Completion(
        tokens=tokens,
        logprobs=_window(_TOKEN_LOGPROBS, start, len(tokens)),
        stop_reason="stop" if stops else "length",
        topk_logprobs=_topk(request.topk_sample_logprobs, [request.prompt[-1], *tokens]),
    )


def _first_scored(request: GenerationRequest) -> int:
    """The first prompt position that gets logprobs: there is nothing before token 0 to go by."""
    if request.prompt_logprobs_last_n is None:
        return 1
    return max(1, len(request.prompt) - request.prompt_logprobs_last_n)


def _prompt_logprobs(request: GenerationRequest) -> list[float | None] | None:
    if not request.prompt_logprobs:
        return None
    first = _first_scored(request)
    return [*[None] * first, *expected_logprobs(request.prompt[first:])]


def _topk_prompt_logprobs(request: GenerationRequest) -> TopKRows | None:
    first = _first_scored(request)
    scored = _topk(request.topk_prompt_logprobs, request.prompt[first - 1 :])
    return scored and TopKRows(scored.k, [*[None] * first, *scored.rows])


def _topk(k: int, tokens: list[int]) -> TopKRows | None:
    """The `k` likeliest successors of each of `tokens` but the last, one row a step."""
    if not k:
        return None
    rows = _topk_rows(k)
    return TopKRows(k, [rows[previous % _TOPK_ROWS] for previous, _ in pairwise(tokens)])


@lru_cache(maxsize=8)
def _topk_rows(k: int) -> list[list[tuple[int, float]]]:
    """A row of `k` tokens, likeliest first, for each class of previous token."""
    # 7919 is odd and the vocabulary a power of two: the ids of a row are distinct.
    return [
        [((131 * row + 7919 * rank) % VOCAB_SIZE, -(rank + 1) / 8 - row / 512) for rank in range(k)]
        for row in range(_TOPK_ROWS)
    ]


def _target_logprobs(request: GenerationRequest) -> list[list[float]] | None:
    if request.target_prompt_tokens is None:
        return None
    return [
        [_LOGPROB_OF_TOKEN[token] if token >= 0 else 0.0 for token in row]
        for row in request.target_prompt_tokens
    ]


def _alternatives(request: GenerationRequest, table: list[T], start: int) -> list[list[T]] | None:
    """`prompt_alt_tokens_k` entries of `table` for each prompt position after the first."""
    k = request.prompt_alt_tokens_k
    if not k:
        return None
    positions = range(start, start + len(request.prompt) - 1)
    return [_window(table, position % _PERIOD, k) for position in positions]
