"""`--engine vllm` in front of a real vLLM on the CPU: its answers are those of transformers in 32 bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.waiting import wait_until
from tinker_client import RequestFailedError, SamplingClient, ServiceClient, types
from tinker_client.local_server import start_local_server
from tools import vllm_cpu
from tools.vllm_cpu import Vllm

pytestmark = [
    pytest.mark.skipif(vllm_cpu.why_missing() is not None, reason=str(vllm_cpu.why_missing())),
    pytest.mark.timeout(900),
]

PROMPT = [1, 4093, 198, 1780, 314, 216, 33, 34, 26, 39, 47, 2]
"""A conversation's beginning, or nearly."""
BAR = 1e-4


@pytest.fixture(scope="module", params=["--enable-scale-out", ""], ids=["generate", "completions"])
def vllm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    """With the route for tokens, and without."""
    with Vllm(tmp_path_factory.mktemp("vllm") / "log", *filter(None, [request.param])) as vllm:
        yield vllm


@pytest.fixture(scope="module")
def base_url(vllm: Vllm) -> Iterator[str]:
    with closing(start_local_server("vllm", "--upstream", vllm.url, start_timeout=180)) as server:
        yield server.base_url


@pytest.fixture
def service_client(base_url: str) -> Iterator[ServiceClient]:
    with ServiceClient(base_url=base_url, api_key="tml-tests") as client:
        yield client


@pytest.fixture
def client(vllm: Vllm, service_client: ServiceClient) -> SamplingClient:
    return service_client.create_sampling_client(base_model=vllm.model)


def ask(client: SamplingClient, num_samples: int = 1, **options: Any) -> types.SampleResponse:
    names = ("max_tokens", "temperature", "seed", "stop", "top_k", "top_p")
    params = {"max_tokens": 12, **{name: options.pop(name) for name in names if name in options}}
    prompt = types.ModelInput.from_ints(PROMPT)
    return client.sample(prompt, num_samples, types.SamplingParams(**params), **options).result(120)


def test_logprobs_are_those_of_transformers(client: SamplingClient, reference: Callable[..., Any]) -> None:
    """Of samples at any temperature, of prompts, and of the likeliest tokens at each position."""
    hot = ask(client, 3, temperature=1.5, seed=1, topk_sample_logprobs=5)
    cold = ask(client, 2, temperature=0.5, top_p=0.9, top_k=50)
    greedy = ask(client, 2, temperature=0.0)
    samples = [*hot.sequences, *cold.sequences, *greedy.sequences]
    texts = [[*PROMPT, *it.tokens] for it in samples]
    told = reference(texts, greedy=PROMPT)
    for sample, text, scores in zip(samples, texts, told["scores"], strict=True):
        assert sample.logprobs == pytest.approx(scores[len(PROMPT) - 1 :], abs=BAR)
        scored = client.compute_logprobs(types.ModelInput.from_ints(text)).result(120)
        assert scored[1:] == pytest.approx(scores, abs=BAR)
    for sample, top in zip(hot.sequences, told["top"], strict=False):
        for row, expected in zip(sample.topk_logprobs, top[len(PROMPT) - 1 :], strict=True):
            assert_same_row(row, expected)
    assert [it.tokens for it in greedy.sequences] == [told["greedy"][: len(greedy.sequences[0].tokens)]] * 2


def assert_same_row(row: Any, expected: Any) -> None:
    """Likeliest first; where two are as likely, in either order."""
    assert [logprob for _, logprob in row] == pytest.approx([logprob for _, logprob in expected], abs=BAR)
    assert {token for token, _ in row[:-1]} <= {token for token, _ in expected}


def test_a_prompt_and_its_likeliest_tokens(client: SamplingClient, reference: Callable[..., Any]) -> None:
    response = ask(client, 2, include_prompt_logprobs=True, topk_prompt_logprobs=5)
    told = reference([PROMPT], greedy=PROMPT)
    assert response.prompt_logprobs[1:] == pytest.approx(told["scores"][0], abs=BAR)
    for row, expected in zip(response.topk_prompt_logprobs[1:], told["top"][0], strict=True):
        assert_same_row(row, expected)


def test_seeds_and_several_samples(client: SamplingClient) -> None:
    first, again, other = (ask(client, 4, seed=seed) for seed in (1, 1, 9))
    assert len({tuple(it.tokens) for it in first.sequences}) == 4
    assert [it.tokens for it in first.sequences] == [it.tokens for it in again.sequences]
    assert [it.tokens for it in first.sequences] != [it.tokens for it in other.sequences]


def test_stops(client: SamplingClient) -> None:
    [whole] = ask(client, temperature=0.0).sequences
    stop = whole.tokens[5]
    expected = whole.tokens[: whole.tokens.index(stop) + 1]
    [by_id] = ask(client, temperature=0.0, stop=[stop]).sequences
    assert (by_id.tokens, by_id.stop_reason) == (expected, "stop")
    text = client.get_tokenizer().decode(whole.tokens)[3:6]
    [by_text] = ask(client, temperature=0.0, stop=[text]).sequences
    assert by_text.stop_reason == "stop"
    assert text in client.get_tokenizer().decode(by_text.tokens)
    assert text not in client.get_tokenizer().decode(by_text.tokens[:-1])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": 2.5}, "temperature must be in \\[0, 2\\]"),
        ({"temperature": 0.001}, "takes no temperature between 0 and 0.01"),
        ({"topk_sample_logprobs": 50}, "greater than max allowed: 20"),
        ({"prompt_alt_tokens_k": 2}, "cannot name alternatives"),
        ({"seed": -1}, "takes no negative seed"),
    ],
)
def test_what_it_cannot_do(client: SamplingClient, options: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestFailedError, match=words) as caught:
        ask(client, **options)
    assert caught.value.category == "user"


def test_cancelling_ends_it_there(vllm: Vllm, client: SamplingClient) -> None:
    prompt = types.ModelInput.from_ints(PROMPT)
    params = types.SamplingParams(max_tokens=900, temperature=1.0)
    futures = [client.sample(prompt, 1, params) for _ in range(3)]
    wait_until(lambda: vllm.running() == 3)
    for future in futures:
        assert future.cancel()
    wait_until(lambda: vllm.running() == 0)
