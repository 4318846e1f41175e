"""The tiny engine: a real model, its sampling, and what it says about prompts."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinker_sidecar.local_server.engines import Completion, GenerationRequest, GenerationResult
from tinker_sidecar.local_server.engines.tiny import BASE_MODEL, FOLDER
from tinker_sidecar.local_server.engines.tiny.batch import DecodingBatch, Job
from tinker_sidecar.local_server.engines.tiny.engine import TinyEngine
from tinker_sidecar.local_server.engines.tiny.model import Transformer
from tinker_sidecar.local_server.engines.tiny.problems import final_answer, generate_problems, is_held_out
from tinker_sidecar.local_server.engines.tiny.sampling import SamplingSettings, sample

END_OF_TEXT = 256
PROMPT = "57*38="

Generate = Callable[..., list[GenerationResult]]


def request(prompt: str | list[int] = PROMPT, **options: Any) -> GenerationRequest:
    tokens = list(prompt.encode()) if isinstance(prompt, str) else prompt
    return GenerationRequest(tokens, **{"num_samples": 1, "max_tokens": 128, "seed": 7, **options})


def text(completion: Completion) -> str:
    return bytes(token for token in completion.tokens if token != END_OF_TEXT).decode(errors="replace")


async def together(*calls: Awaitable[GenerationResult]) -> list[GenerationResult]:
    return await asyncio.gather(*calls)


@pytest.fixture(scope="module")
def engine() -> Iterator[TinyEngine]:
    engine = TinyEngine()
    yield engine
    asyncio.run(engine.close())


@pytest.fixture(scope="module")
def generate(engine: TinyEngine) -> Generate:
    """Generate for several requests at once."""
    return lambda *requests: asyncio.run(together(*map(engine.generate, requests)))


# What the model can do


def test_it_solves_problems_it_was_not_trained_on(generate: Generate) -> None:
    problems = generate_problems(60, seed=99)
    results = generate(*(request(problem.prompt, temperature=0.0) for problem in problems))
    answers = [final_answer(text(result.completions[0])) for result in results]
    right = sum(answer == problem.answer for answer, problem in zip(answers, problems, strict=True))
    assert right / len(problems) >= 0.85


def test_the_measured_accuracy_ships_with_the_model() -> None:
    config = json.loads((FOLDER / "config.json").read_text())
    assert config["base_model"] == BASE_MODEL == TinyEngine.base_model
    assert config["held_out_problems"] >= 1000
    assert config["held_out_accuracy_greedy"] >= 0.85
    assert (FOLDER / "model.safetensors").stat().st_size <= 2_000_000


def test_a_solution_ends_in_a_newline_and_the_end_of_text(generate: Generate) -> None:
    [result] = generate(request("30+4=", temperature=0.0))
    [completion] = result.completions
    assert completion.tokens == [*b"34\n", END_OF_TEXT]
    assert completion.stop_reason == "stop"


@pytest.mark.parametrize("held_out", [True, False])
def test_problems_are_worked_out_in_true_steps(held_out: bool) -> None:
    problems = generate_problems(500, seed=3, held_out=held_out)
    assert problems == generate_problems(500, seed=3, held_out=held_out)
    assert len({problem.prompt for problem in problems}) == 500
    for problem in problems:
        steps = (problem.prompt + problem.solution.removesuffix("\n")).split("=")
        assert {eval(step) for step in steps} == {problem.answer}
        assert final_answer(problem.solution) == problem.answer
        assert is_held_out(problem.prompt) == held_out


def test_problems_need_neither_numpy_nor_torch() -> None:
    code = (
        "import sys, tinker_sidecar.local_server.engines.tiny.problems;"
        "sys.exit(bool({'numpy', 'torch', 'safetensors'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Logprobs


def test_logprobs_of_samples_are_those_that_scoring_them_gives(generate: Generate) -> None:
    requests = [
        request("457+386=", num_samples=4),
        request("The weather today is", max_tokens=20),
        request("9*9=", num_samples=3, temperature=0.0),
        request([0, 255, END_OF_TEXT, 200], temperature=3.0, max_tokens=40),
        request("x" * 300, max_tokens=5, top_k=3, top_p=0.5),
        request("8", temperature=0.3, max_tokens=1, num_samples=2),
    ]
    for asked, result in zip(requests, generate(*requests), strict=True):
        wholes = [asked.prompt + completion.tokens for completion in result.completions]
        scored = generate(*(request(whole, max_tokens=1, prompt_logprobs=True) for whole in wholes))
        for completion, score in zip(result.completions, scored, strict=True):
            assert score.prompt_logprobs is not None
            assert score.prompt_logprobs[0] is None
            expected = score.prompt_logprobs[len(asked.prompt) :]
            assert completion.logprobs == pytest.approx(expected, abs=1e-4)


def test_topk_rows_are_sorted_and_agree_with_the_logprobs(generate: Generate) -> None:
    [result] = generate(
        request("57*38=50*30+", prompt_logprobs=True, topk_prompt_logprobs=257, topk_sample_logprobs=257)
    )
    [completion] = result.completions
    prompt_tokens = list(b"57*38=50*30+")
    assert result.prompt_logprobs is not None
    assert result.topk_prompt_logprobs is not None
    assert completion.topk_logprobs is not None
    assert result.topk_prompt_logprobs.rows[0] is None
    tokens = prompt_tokens[1:] + completion.tokens
    rows = result.topk_prompt_logprobs.rows[1:] + completion.topk_logprobs.rows
    logprobs = result.prompt_logprobs[1:] + completion.logprobs
    for token, row, logprob in zip(tokens, rows, logprobs, strict=True):
        assert row is not None
        assert len(row) == 257
        values = [value for _, value in row]
        assert values == sorted(values, reverse=True)
        assert dict(row)[token] == logprob
        assert sum(np.exp(values)) == pytest.approx(1, abs=1e-4)


def test_topk_gives_as_many_as_were_asked_for(generate: Generate) -> None:
    [result] = generate(request(topk_prompt_logprobs=3, topk_sample_logprobs=2, num_samples=2))
    assert result.prompt_logprobs is None
    assert result.topk_prompt_logprobs is not None
    assert result.topk_prompt_logprobs.k == 3
    assert [row and len(row) for row in result.topk_prompt_logprobs.rows] == [None, 3, 3, 3, 3, 3]
    for completion in result.completions:
        assert completion.topk_logprobs is not None
        assert [row and len(row) for row in completion.topk_logprobs.rows] == [2] * len(completion.tokens)


@pytest.mark.parametrize("last_n", [1, 3, 5, 6])
def test_only_the_last_n_prompt_tokens_are_scored(generate: Generate, last_n: int) -> None:
    asked = {"prompt_logprobs": True, "topk_prompt_logprobs": 2}
    whole, part = generate(request(**asked), request(**asked, prompt_logprobs_last_n=last_n))
    skipped = max(1, len(PROMPT) - last_n)
    assert whole.prompt_logprobs
    assert part.prompt_logprobs
    assert part.prompt_logprobs[:skipped] == [None] * skipped
    assert part.prompt_logprobs[skipped:] == pytest.approx(whole.prompt_logprobs[skipped:], abs=1e-4)
    assert whole.topk_prompt_logprobs
    assert part.topk_prompt_logprobs
    assert [row is None for row in part.topk_prompt_logprobs.rows] == [
        index < skipped for index in range(len(PROMPT))
    ]


def test_target_tokens_are_scored_where_they_are_named(generate: Generate) -> None:
    targets = [[ord("7"), -1], [-1, -1], [ord("3"), ord("9")], [ord("8"), 0], [ord("="), END_OF_TEXT]]
    [result] = generate(request(target_prompt_tokens=targets, topk_prompt_logprobs=257))
    assert result.target_prompt_logprobs is not None
    assert result.topk_prompt_logprobs is not None
    rows = result.topk_prompt_logprobs.rows[1:]
    expected = [
        [dict(row or [])[token] if token >= 0 else 0.0 for token in tokens]
        for tokens, row in zip(targets, rows, strict=True)
    ]
    assert result.target_prompt_logprobs == expected


def test_alternatives_are_drawn_at_every_position_after_the_first(generate: Generate) -> None:
    hot = request(prompt_alt_tokens_k=5, topk_prompt_logprobs=257, temperature=2.0)
    cold = request(prompt_alt_tokens_k=2, temperature=0.0, topk_prompt_logprobs=1)
    drawn, again, likeliest = generate(hot, hot, cold)
    assert drawn.prompt_alt_tokens == again.prompt_alt_tokens
    assert drawn.prompt_alt_tokens
    assert drawn.prompt_alt_logprobs
    assert drawn.topk_prompt_logprobs
    assert np.shape(drawn.prompt_alt_tokens) == np.shape(drawn.prompt_alt_logprobs) == (len(PROMPT) - 1, 5)
    assert any(len(set(row)) > 1 for row in drawn.prompt_alt_tokens)
    assert drawn.prompt_alt_logprobs == [
        [dict(row or [])[token] for token in tokens]
        for tokens, row in zip(drawn.prompt_alt_tokens, drawn.topk_prompt_logprobs.rows[1:], strict=True)
    ]
    assert likeliest.topk_prompt_logprobs
    assert likeliest.prompt_alt_tokens == [
        [row[0][0]] * 2 for row in likeliest.topk_prompt_logprobs.rows if row
    ]


def test_a_prompt_of_one_token_has_nothing_to_score(generate: Generate) -> None:
    [result] = generate(
        request(
            "8", prompt_logprobs=True, topk_prompt_logprobs=2, prompt_alt_tokens_k=2, target_prompt_tokens=[]
        )
    )
    assert result.prompt_logprobs == [None]
    assert result.topk_prompt_logprobs is not None
    assert result.topk_prompt_logprobs.rows == [None]
    assert result.prompt_alt_tokens == result.prompt_alt_logprobs == result.target_prompt_logprobs == []


# Sampling


def test_a_seed_gives_the_same_samples_in_any_company(generate: Generate) -> None:
    options = {"temperature": 4.0, "max_tokens": 60, "seed": 2**40 + 1}
    asked = request("98*76=", num_samples=5, **options)
    [alone] = generate(asked)
    company = [request(f"{n}*7=", num_samples=3, seed=n, temperature=n / 10) for n in range(20)]
    *_, beside, _ = generate(*company, asked, request("1" * 400, max_tokens=20))
    [fewer] = generate(request("98*76=", num_samples=2, **options))
    tokens = [completion.tokens for completion in alone.completions]
    assert tokens == [completion.tokens for completion in beside.completions]
    assert tokens[:2] == [completion.tokens for completion in fewer.completions]
    assert len(set(map(tuple, tokens))) == 5
    for one, other in zip(alone.completions, beside.completions, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_without_a_seed_samples_differ(generate: Generate) -> None:
    asked = request(seed=None, temperature=5.0, max_tokens=20)
    first, second = generate(asked, asked)
    assert first.completions[0].tokens != second.completions[0].tokens


@pytest.mark.parametrize(
    "options", [{"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-4}, {"temperature": 1e-30}]
)
def test_the_narrowest_sampling_is_greedy(generate: Generate, options: dict[str, Any]) -> None:
    prompts = ["57*38=", "821-399=", "what"]
    greedy = generate(*(request(prompt, temperature=0.0, max_tokens=40) for prompt in prompts))
    narrow = generate(*(request(prompt, max_tokens=40, **options) for prompt in prompts))
    for expected, result in zip(greedy, narrow, strict=True):
        assert result.completions[0].tokens == expected.completions[0].tokens


@pytest.mark.parametrize("top_k", [-1, 0, 257])
def test_widest_filters_change_nothing(generate: Generate, top_k: int) -> None:
    plain, filtered = generate(request(temperature=2.0), request(temperature=2.0, top_k=top_k, top_p=1.0))
    assert filtered.completions[0].tokens == plain.completions[0].tokens


def test_top_k_leaves_only_the_k_likeliest(generate: Generate) -> None:
    [result] = generate(
        request(top_k=2, temperature=50.0, topk_sample_logprobs=2, num_samples=4, max_tokens=50)
    )
    ranks = set()
    for completion in result.completions:
        assert completion.topk_logprobs is not None
        for token, row in zip(completion.tokens, completion.topk_logprobs.rows, strict=True):
            ranks.add([candidate for candidate, _ in row or []].index(token))
    assert ranks == {0, 1}


def test_top_p_leaves_the_fewest_tokens_that_hold_p(generate: Generate) -> None:
    p, temperature = 0.6, 5.0
    [result] = generate(
        request(top_p=p, temperature=temperature, topk_sample_logprobs=257, num_samples=8, max_tokens=30)
    )
    beyond_the_first = 0
    for completion in result.completions:
        assert completion.topk_logprobs is not None
        for token, row in zip(completion.tokens, completion.topk_logprobs.rows, strict=True):
            assert row is not None
            rank = [candidate for candidate, _ in row].index(token)
            weights = np.exp([logprob / temperature for _, logprob in row])
            assert weights[:rank].sum() / weights.sum() < p + 1e-4
            beyond_the_first += rank > 0
    assert beyond_the_first > 10


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "expected"),
    [
        (1.0, -1, 1.0, [0.1, 0.2, 0.3, 0.4]),
        (0.5, -1, 1.0, [1 / 30, 4 / 30, 9 / 30, 16 / 30]),
        (1.0, 3, 1.0, [0, 2 / 9, 3 / 9, 4 / 9]),
        (1.0, -1, 0.65, [0, 0, 3 / 7, 4 / 7]),
        (1.0, 2, 0.5, [0, 0, 0, 1]),
        (0.0, -1, 1.0, [0, 0, 0, 1]),
    ],
)
def test_tokens_are_drawn_in_proportion(
    temperature: float, top_k: int, top_p: float, expected: list[float]
) -> None:
    n = 9_000
    logprobs = np.log(np.array([[0.1, 0.2, 0.3, 0.4]] * n, dtype=np.float32))
    uniforms = (np.arange(n) + 0.5) / n
    settings = SamplingSettings.of([request(temperature=temperature, top_k=top_k, top_p=top_p)] * n)
    counts = np.bincount(sample(logprobs, uniforms, settings), minlength=4)
    assert counts / n == pytest.approx(expected, abs=2 / n)


# Stopping


def test_a_stop_string_ends_the_sequence_and_stays_in_it(generate: Generate) -> None:
    [whole] = generate(request(temperature=0.0))
    solution = text(whole.completions[0])
    stop = solution[4:7]
    [result] = generate(request(temperature=0.0, stop_strings=["nowhere", stop]))
    [completion] = result.completions
    assert text(completion) == solution[: solution.index(stop) + len(stop)]
    assert completion.stop_reason == "stop"
    assert len(completion.tokens) == len(completion.logprobs)


def test_a_stop_token_ends_the_sequence_and_is_its_last(generate: Generate) -> None:
    [result] = generate(request(temperature=0.0, stop_tokens=[ord("+"), 5]))
    [completion] = result.completions
    assert completion.tokens[-1] == ord("+")
    assert completion.tokens.count(ord("+")) == 1
    assert completion.stop_reason == "stop"


def test_a_stop_string_does_not_reach_back_into_the_prompt(generate: Generate) -> None:
    [whole] = generate(request(temperature=0.0))
    across = "=" + text(whole.completions[0])[0]
    [result] = generate(request(temperature=0.0, stop_strings=[across]))
    assert len(result.completions[0].tokens) > 1


def test_max_tokens_is_a_length_stop(generate: Generate) -> None:
    [result] = generate(request(max_tokens=3, num_samples=2))
    assert [(len(c.tokens), c.stop_reason) for c in result.completions] == [(3, "length")] * 2


def test_the_whole_context_can_be_used(generate: Generate, engine: TinyEngine) -> None:
    full, long = generate(
        request([65] * (engine.max_context_length - 1), max_tokens=1),
        request("B", max_tokens=engine.max_context_length - 1, temperature=0.0, stop_tokens=[1]),
    )
    assert len(full.completions[0].tokens) == 1
    assert long.completions[0].tokens


def test_more_samples_than_run_at_once(generate: Generate) -> None:
    small, big, last = generate(request(), request(num_samples=300, max_tokens=3), request("2+2="))
    assert len(big.completions) == 300
    assert small.completions
    assert last.completions


# Tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(FOLDER)


@given(st.text())
def test_any_text_is_its_utf8_bytes(tokenizer: Any, words: str) -> None:
    tokens = tokenizer.encode(words)
    if "<|endoftext|>" not in words:
        assert tokens == list(words.encode())
    assert tokenizer.decode(tokens) == words


@pytest.mark.parametrize("words", ["", " a  b ,c !\n\t", "it 's", "<0x41>", "été 日本 🤖", "a<|endoftext|>b"])
def test_odd_texts_survive_the_tokenizer(tokenizer: Any, words: str) -> None:
    assert tokenizer.decode(tokenizer.encode(words)) == words


def test_the_tokenizer_knows_the_end_of_text(tokenizer: Any, engine: TinyEngine) -> None:
    assert tokenizer.eos_token_id == END_OF_TEXT
    assert len(tokenizer) == engine.vocab_size
    assert tokenizer.decode([*b"34\n", END_OF_TEXT], skip_special_tokens=True) == "34\n"
    assert tokenizer.model_max_length == engine.max_context_length


# Cancelling and closing


ENDLESS = {"temperature": 50.0, "num_samples": 64, "max_tokens": 500}
"""Nearly uniform bytes: the end of text comes, on average, after 257 of them."""


def test_a_cancelled_job_leaves_the_batch_and_the_others_stay() -> None:
    batch = DecodingBatch(Transformer.load(FOLDER))
    cancelled, kept = Job(request(**ENDLESS)), Job(request(temperature=0.0))
    batch.add([cancelled, kept])
    batch.step()
    assert len(batch) == 65
    cancelled.future.cancel()
    batch.step()
    assert len(batch) == 1
    while len(batch):
        batch.step()
    assert text(kept.future.result(timeout=0).completions[0]).endswith("\n")


def test_a_cancelled_call_harms_no_other(engine: TinyEngine) -> None:
    async def cancel_one() -> list[GenerationResult]:
        doomed = asyncio.create_task(engine.generate(request(**ENDLESS)))
        others = [asyncio.create_task(engine.generate(request(temperature=0.0))) for _ in range(3)]
        await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        doomed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await doomed
        return await asyncio.gather(*others, engine.generate(request(temperature=0.0)))

    texts = {text(result.completions[0]) for result in asyncio.run(cancel_one())}
    assert len(texts) == 1


def test_closing_fails_what_is_pending_and_what_comes_after() -> None:
    async def close_early() -> None:
        engine = TinyEngine()
        pending = [asyncio.create_task(engine.generate(request(**ENDLESS))) for _ in range(20)]
        await asyncio.sleep(0)
        await engine.close()
        for outcome in await asyncio.gather(*pending, return_exceptions=True):
            assert isinstance(outcome, RuntimeError)
            assert "closed" in str(outcome)
        with pytest.raises(RuntimeError, match="closed"):
            await engine.generate(request())
        await engine.close()

    asyncio.run(close_early())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_engine_that_fails_says_so_and_leaves_nobody_waiting() -> None:
    async def break_it() -> None:
        engine = TinyEngine()
        beside = asyncio.create_task(engine.generate(request(**ENDLESS)))
        with pytest.raises(RuntimeError, match="failed: IndexError"):
            await engine.generate(request([engine.vocab_size]))
        with pytest.raises(RuntimeError, match="failed: IndexError"):
            await beside
        with pytest.raises(RuntimeError, match="failed: IndexError"):
            await engine.generate(request())
        await engine.close()

    asyncio.run(break_it())
