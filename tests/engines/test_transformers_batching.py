"""Requests are computed together: they join and leave as they come, and none is computed twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.engines.conftest import generate, request
from tests.waiting import wait_until
from tinker_sidecar.local_server.engines import GenerationError, GenerationRequest, GenerationResult

ENDLESS: dict[str, Any] = {"temperature": 50.0, "num_samples": 4, "max_tokens": 500}
"""Nearly uniform bytes: the end of text comes, on average, after 257 of them."""


class Counted:
    """What an engine's model computes: the shape of the tokens of each pass."""

    def __init__(self, engine: Any) -> None:
        self.passes: list[tuple[int, int]] = []
        engine._checkpoint.model.register_forward_pre_hook(self.count, with_kwargs=True)

    def count(self, module: Any, arguments: Any, keywords: Any) -> None:
        self.passes.append(tuple(keywords["input_ids"].shape))

    async def until(self, condition: Callable[[], bool]) -> None:
        await asyncio.to_thread(wait_until, condition)


def test_a_groups_prompt_is_read_once(open_engine: Callable[..., Any]) -> None:
    engine = open_engine()
    counted = Counted(engine)
    generate(engine, request("1+1" * 50, num_samples=8, max_tokens=5, temperature=0.01, stop_tokens=[]))
    (rows, columns), *steps = counted.passes
    assert (rows, columns) == (1, 150)
    assert all(columns == 1 and rows <= 8 for rows, columns in steps)
    assert len(steps) <= 4


def test_a_request_joins_what_runs_and_is_done_before_it(open_engine: Callable[..., Any]) -> None:
    engine = open_engine()
    counted = Counted(engine)

    async def main() -> None:
        long = asyncio.create_task(engine.generate(request(**ENDLESS)))
        await counted.until(lambda: len(counted.passes) >= 5)
        await engine.generate(request("30+4=", temperature=0.0))
        assert not long.done()
        await long

    asyncio.run(main())
    assert any(rows == 5 and columns == 1 for rows, columns in counted.passes)


def test_a_long_prompt_is_read_in_pieces_beside_the_others(
    open_engine: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine()
    long = request("9*9=" * 120, num_samples=2, prompt_logprobs=True, prompt_alt_tokens_k=1, temperature=0.0)
    [whole] = generate(engine, long)
    monkeypatch.setattr("tinker_sidecar.local_server.engines.hf.engine.PIECE", 50)
    counted = Counted(engine)
    [pieces, short] = generate(engine, long, request("30+4=", temperature=0.0))
    assert max(columns for _, columns in counted.passes) == 50
    assert [it.tokens for it in pieces.completions] == [it.tokens for it in whole.completions]
    assert pieces.prompt_logprobs is not None
    assert pieces.prompt_logprobs[1:] == pytest.approx((whole.prompt_logprobs or [])[1:], abs=1e-4)
    assert pieces.prompt_alt_tokens == whole.prompt_alt_tokens
    first_steps = [columns for _, columns in counted.passes].index(1)
    assert first_steps < 10  # Of ten pieces: the short one has not waited for the last of them.
    assert bytes(short.completions[0].tokens[:-1]) == b"34\n"


def test_more_samples_than_run_at_once(open_engine: Callable[..., Any]) -> None:
    small, big, last = generate(
        open_engine(), request(), request(num_samples=300, max_tokens=3), request("2+2=")
    )
    assert len(big.completions) == 300
    assert small.completions
    assert last.completions


def test_the_whole_context_can_be_used(open_engine: Callable[..., Any]) -> None:
    engine = open_engine()
    assert engine.max_context_length == 512
    full, long = generate(
        engine,
        request([65] * 511, max_tokens=1),
        request("B", max_tokens=511, temperature=0.0, stop_tokens=[1]),
    )
    assert len(full.completions[0].tokens) == 1
    assert long.completions[0].tokens


def test_a_cancelled_call_leaves_the_batch_and_harms_no_other(open_engine: Callable[..., Any]) -> None:
    engine = open_engine()
    counted = Counted(engine)

    async def cancel_one() -> list[GenerationResult]:
        doomed = asyncio.create_task(engine.generate(request(**ENDLESS | {"num_samples": 64})))
        others = [asyncio.create_task(engine.generate(request(temperature=0.0))) for _ in range(3)]
        await counted.until(lambda: (67, 1) in counted.passes)
        doomed.cancel()
        results = await asyncio.gather(*others)
        results.append(await engine.generate(request(temperature=0.0)))
        return results

    results = asyncio.run(cancel_one())
    assert len({tuple(result.completions[0].tokens) for result in results}) == 1
    assert counted.passes[-1][0] == 1


def test_a_call_may_be_cancelled_at_any_time(open_engine: Callable[..., Any]) -> None:
    """Before its prompt is read, while it is, and between that and its first token."""
    engine = open_engine()

    async def cancel_many() -> GenerationResult:
        for number in range(60):
            doomed = asyncio.create_task(engine.generate(request(**ENDLESS)))
            await asyncio.sleep(number / 10_000)
            doomed.cancel()
        result: GenerationResult = await engine.generate(request("30+4=", temperature=0.0))
        return result

    assert bytes(asyncio.run(cancel_many()).completions[0].tokens[:-1]) == b"34\n"


def test_closing_fails_what_is_pending_and_what_comes_after(open_engine: Callable[..., Any]) -> None:
    async def close_early() -> None:
        engine = open_engine()
        pending = [asyncio.create_task(engine.generate(request(**ENDLESS))) for _ in range(20)]
        await asyncio.sleep(0)
        await engine.close()
        for outcome in await asyncio.gather(*pending, return_exceptions=True):
            assert isinstance(outcome, RuntimeError)
            assert "closed" in str(outcome)
        with pytest.raises(RuntimeError, match="closed"):
            await engine.generate(request())

    asyncio.run(close_early())


def test_a_model_that_fails_fails_the_request_and_goes_on(open_engine: Callable[..., Any]) -> None:
    engine = open_engine()
    with pytest.raises(RuntimeError, match="the model has failed: IndexError"):
        generate(engine, request([engine.vocab_size]))
    assert generate(engine, request())[0].completions


class TooBig:
    """A model that has memory for a few sequences only, and says so as torch does on a CPU."""

    def __init__(self, engine: Any, most: int) -> None:
        self.most = most
        engine._checkpoint.model.register_forward_pre_hook(self.allocate, with_kwargs=True)

    def allocate(self, module: Any, arguments: Any, keywords: Any) -> None:
        if keywords["input_ids"].shape[0] > self.most:
            import torch

            torch.empty(1 << 60)


def test_what_has_no_room_together_is_computed_in_turn(open_engine: Callable[..., Any]) -> None:
    asked = [request(num_samples=2, temperature=2.0, seed=seed, prompt_logprobs=True) for seed in range(12)]
    plenty, little = open_engine(), open_engine()
    TooBig(little, most=5)
    expected = [tokens(result) for result in generate(plenty, *asked)]
    assert [tokens(result) for result in generate(little, *asked)] == expected


def test_what_has_no_room_alone_is_told(open_engine: Callable[..., Any]) -> None:
    engine = open_engine()
    TooBig(engine, most=5)
    big: GenerationRequest = request(num_samples=6, max_tokens=9)
    said = "out of memory: there is not enough for 6 samples of up to 9 tokens after a prompt of 6"
    with pytest.raises(GenerationError, match=said):
        generate(engine, big)
    assert generate(engine, request())[0].completions


def tokens(result: GenerationResult) -> list[list[int]]:
    return [it.tokens for it in result.completions]
