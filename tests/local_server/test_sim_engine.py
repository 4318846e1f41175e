"""The simulation: what it says is a function of the request, and when it says it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tinker_sidecar.local_server.engines import GenerationRequest, GenerationResult
from tinker_sidecar.local_server.engines.sim import SimEngine, expected_logprobs, expected_tokens


def generate(engine: SimEngine | None = None, **request: Any) -> GenerationResult:
    fields = {"prompt": [1, 2, 3], "num_samples": 1, "max_tokens": 4, **request}
    return asyncio.run((engine or SimEngine(latency=0)).generate(GenerationRequest(**fields)))


def test_the_tokens_never_change() -> None:
    """Records of old runs are compared with what the simulation must have said."""
    assert expected_tokens([1, 2, 3], None, 0, 4) == TOKENS_OF_1_2_3
    assert expected_logprobs(TOKENS_OF_1_2_3) == LOGPROBS_OF_1_2_3


TOKENS_OF_1_2_3 = [28352, 10338, 26080, 29956]
LOGPROBS_OF_1_2_3 = [-7.4979248046875, -6.4271240234375, -6.9354248046875, -5.551025390625]


def test_prompt_seed_and_index_each_make_a_difference() -> None:
    variants = [
        ([1, 2, 3], None, 0),
        ([1, 2, 4], None, 0),
        ([1, 2, 3], 0, 0),
        ([1, 2, 3], 1, 0),
        ([1, 2, 3], 1, 1),
    ]
    assert len({tuple(expected_tokens(*variant, 16)) for variant in variants}) == len(variants)


def test_a_longer_answer_goes_on_where_a_shorter_one_stops() -> None:
    long = expected_tokens([7], 7, 7, 100_000)
    assert len(long) == 100_000
    assert expected_tokens([7], 7, 7, 99_000) == long[:99_000]
    [completion] = generate(prompt=[7], seed=7, max_tokens=70_000).completions
    assert completion.tokens == expected_tokens([7], 7, 0, 70_000)


def test_sampled_tokens_have_the_logprobs_that_scoring_them_gives() -> None:
    [completion] = generate().completions
    scored = generate(prompt=[1, 2, 3, *completion.tokens], prompt_logprobs=True)
    assert scored.prompt_logprobs is not None
    assert scored.prompt_logprobs[3:] == completion.logprobs


def test_top_k_rows_are_sorted_and_their_tokens_distinct() -> None:
    result = generate(prompt=list(range(300)), topk_prompt_logprobs=20, topk_sample_logprobs=20)
    assert result.topk_prompt_logprobs is not None
    first, *rows = result.topk_prompt_logprobs.rows
    assert first is None
    for row in rows:
        assert row is not None
        assert len({token for token, _ in row}) == 20
        assert [logprob for _, logprob in row] == sorted((logprob for _, logprob in row), reverse=True)
    assert rows[0] != rows[1]
    topk = result.completions[0].topk_logprobs
    assert topk is not None
    assert len(topk.rows) == 4


@pytest.mark.parametrize(
    ("engine", "delay"),
    [
        (SimEngine(latency=0.2), 0.2),
        (SimEngine(latency=0.1, tokens_per_second=20), 0.3),
        (SimEngine(latency=0, tokens_per_second=8), 0.5),
    ],
)
def test_it_takes_its_time(engine: SimEngine, delay: float) -> None:
    async def timed() -> float:
        clock = asyncio.get_running_loop().time
        start = clock()
        await engine.generate(GenerationRequest(prompt=[1], num_samples=3, max_tokens=4))
        return clock() - start

    # A timer of an event loop may ring early by the resolution of its clock.
    assert asyncio.run(timed()) >= delay - 0.002


def test_jitter_changes_the_order_of_answers_and_always_in_the_same_way() -> None:
    def order(jitter: float) -> list[int]:
        # So long that their times are 8 ms apart at least: a busy machine is late by one or two.
        return asyncio.run(order_of_answers(SimEngine(latency=1, jitter=jitter)))

    assert order(jitter=0) == list(range(20))
    assert order(jitter=1) == order(jitter=1) != list(range(20))


async def order_of_answers(engine: SimEngine) -> list[int]:
    answered: list[int] = []

    async def ask(number: int) -> None:
        await engine.generate(GenerationRequest(prompt=[number], num_samples=1, max_tokens=1))
        answered.append(number)

    await asyncio.gather(*map(ask, range(20)))
    return answered
