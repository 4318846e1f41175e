"""A model that transformers computes says what our numpy engine says with the same weights."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.engines.conftest import generate, request
from tinker_sidecar.local_server.engines import GenerationResult
from tinker_sidecar.local_server.engines.tiny.engine import TinyEngine

EVERYTHING: dict[str, Any] = {
    "prompt_logprobs": True,
    "topk_prompt_logprobs": 5,
    "topk_sample_logprobs": 3,
    "prompt_alt_tokens_k": 2,
}
REQUESTS = [
    request("57*38=", num_samples=4, **EVERYTHING),
    request("457+386=", temperature=0.0, prompt_logprobs=True, prompt_logprobs_last_n=3),
    request("The weather today is", num_samples=2, temperature=3.0, **EVERYTHING),
    request([0, 255, 256, 200], temperature=2.0, top_k=7, max_tokens=20),
    request("9*9=" * 100, temperature=1.5, top_p=0.8, num_samples=3, prompt_logprobs=True),
    request("8", temperature=0.3, max_tokens=1, num_samples=2, prompt_logprobs=True, topk_prompt_logprobs=1),
    request("12*7=", target_prompt_tokens=[[50, -1], [1, 2], [-1, -1], [61, 256]], top_k=3, top_p=0.5),
    request("12*7=", target_prompt_tokens=[[50], [], [3, 4, 5], []]),
    request("40+2=", stop_strings=["4", "zz"], temperature=0.0),
    request("40*22=", stop_tokens=[ord("+")], temperature=0.0),
]


@pytest.fixture
def tiny() -> Iterator[TinyEngine]:
    engine = TinyEngine()
    yield engine
    asyncio.run(engine.close())


def test_what_it_says_is_what_numpy_says(open_engine: Callable[..., Any], tiny: TinyEngine) -> None:
    """The same samples, too, as both draw from the same random streams."""
    ours = generate(open_engine(), *REQUESTS)
    for found, expected in zip(ours, generate(tiny, *REQUESTS), strict=True):
        assert outline(found) == outline(expected)
        assert figures(found) == pytest.approx(figures(expected), abs=1e-4)


def test_alone_or_in_company_it_says_the_same(open_engine: Callable[..., Any]) -> None:
    engine = open_engine()
    together = generate(engine, *REQUESTS * 3)
    for asked, found in zip(REQUESTS * 3, together, strict=True):
        [alone] = generate(engine, asked)
        assert outline(found) == outline(alone)
        assert figures(found) == pytest.approx(figures(alone), abs=1e-4)


def test_samples_come_as_often_as_their_logprobs_say(open_engine: Callable[..., Any]) -> None:
    engine = open_engine()
    asked = {"max_tokens": 1, "seed": None}
    [result] = generate(engine, request("The ", **asked, topk_sample_logprobs=257))
    assert result.completions[0].topk_logprobs is not None
    [row] = result.completions[0].topk_logprobs.rows
    chances = {token: math.exp(logprob) for token, logprob in row or []}
    [drawn] = generate(engine, request("The ", **asked, num_samples=4000))
    counts = Counter(completion.tokens[0] for completion in drawn.completions)
    for token, chance in chances.items():
        spread = math.sqrt(4000 * chance * (1 - chance))
        assert abs(counts[token] - 4000 * chance) <= 6 * spread + 1, token


def outline(result: GenerationResult) -> Any:
    """All that is not a logprob."""
    return [
        [(it.tokens, it.stop_reason, _tokens(it.topk_logprobs)) for it in result.completions],
        _tokens(result.topk_prompt_logprobs),
        result.prompt_alt_tokens,
        [row and len(row) for row in result.target_prompt_logprobs or []],
        result.prompt_logprobs and [logprob is None for logprob in result.prompt_logprobs],
    ]


def figures(result: GenerationResult) -> list[float]:
    lists = [it.logprobs for it in result.completions]
    lists += [[it for it in result.prompt_logprobs or [] if it is not None]]
    lists += [*(result.target_prompt_logprobs or []), *(result.prompt_alt_logprobs or [])]
    for topk in (result.topk_prompt_logprobs, *(it.topk_logprobs for it in result.completions)):
        lists += [[logprob for _, logprob in row or []] for row in (topk.rows if topk else [])]
    return [figure for figures in lists for figure in figures]


def _tokens(topk: Any) -> Any:
    return topk and [row and [token for token, _ in row] for row in topk.rows]
