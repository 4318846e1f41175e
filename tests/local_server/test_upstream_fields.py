"""`--engine vllm` and `sglang`: what is asked reaches the server behind and comes back, or is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tests.local_server.inference_stand_in import CONTEXT, END, MODEL, NEVER, VOCABULARY, logprobs_after
from tests.local_server.upstream import Upstream
from tinker_client import BadRequestError, RequestFailedError, SamplingClient, ServiceClient, types

PROMPT = [40, 41, 42, 43]

SERVERS = {
    "vllm": ("vllm", "v2"),
    "vllm, completions": ("vllm", "completions"),
    "sglang": ("sglang", "deterministic"),
    "sglang, tempered": ("sglang", "tempered"),
}


@pytest.fixture(scope="module", params=SERVERS)
def server(
    request: pytest.FixtureRequest, upstream: Callable[..., Upstream], in_front: Any
) -> tuple[str, Any]:
    """Which one it is, and a server in front of it."""
    return request.param, in_front(upstream(*SERVERS[request.param]), "--adapters", "/adapters")


@pytest.fixture
def service_client(server: tuple[str, Any]) -> Iterator[ServiceClient]:
    with ServiceClient(base_url=server[1].base_url, api_key="tml-tests") as client:
        yield client


@pytest.fixture
def client(service_client: ServiceClient) -> SamplingClient:
    return service_client.create_sampling_client(base_model=MODEL)


def ask(
    client: SamplingClient, *, prompt: list[int] = PROMPT, num_samples: int = 1, **options: Any
) -> types.SampleResponse:
    names = ("max_tokens", "temperature", "seed", "stop", "top_k", "top_p")
    params = {"max_tokens": 6, **{name: options.pop(name) for name in names if name in options}}
    asked = types.ModelInput.from_ints(prompt)
    return client.sample(asked, num_samples, types.SamplingParams(**params), **options).result(30)


def scores(tokens: list[int], adapter: str | None = None) -> list[float]:
    """The toy's own logprobs of all but the first."""
    return [float(logprobs_after(one, adapter)[next_]) for one, next_ in pairwise(tokens)]


def test_samples_and_their_logprobs(client: SamplingClient) -> None:
    response = ask(client, num_samples=5, max_tokens=8)
    assert len({tuple(it.tokens) for it in response.sequences}) == 5
    for it in response.sequences:
        assert len(it.tokens) == 8 or it.tokens[-1] == END
        assert it.logprobs == pytest.approx(scores([PROMPT[-1], *it.tokens]), abs=1e-4)


def test_greedy_is_sampled_once_for_all(client: SamplingClient) -> None:
    expected, last = [], PROMPT[-1]
    for _ in range(6):
        last = int(logprobs_after(last).argmax())
        expected.append(last)
    response = ask(client, num_samples=3, temperature=0.0)
    assert [it.tokens for it in response.sequences] == [expected] * 3


@pytest.mark.parametrize("spelt", [chr, int], ids=["string", "id"])
def test_stops(client: SamplingClient, spelt: Callable[[int], Any]) -> None:
    [whole] = ask(client, temperature=0.0, max_tokens=20).sequences
    stop = whole.tokens[4]
    [it] = ask(client, temperature=0.0, max_tokens=20, stop=[spelt(stop)]).sequences
    assert (it.tokens, it.stop_reason) == (whole.tokens[: whole.tokens.index(stop) + 1], "stop")


def test_the_likeliest_tokens(client: SamplingClient) -> None:
    response = ask(client, topk_sample_logprobs=3, topk_prompt_logprobs=4, include_prompt_logprobs=True)
    [it] = response.sequences
    for before, row in zip([PROMPT[-1], *it.tokens[:-1]], it.topk_logprobs, strict=True):
        assert row == likeliest(before, 3)
    assert response.prompt_logprobs[0] is None
    assert response.prompt_logprobs[1:] == pytest.approx(scores(PROMPT), abs=1e-4)
    first, *rows = response.topk_prompt_logprobs
    assert first is None
    assert rows == [likeliest(before, 4) for before in PROMPT[:-1]]


def likeliest(before: int, k: int) -> Any:
    row = logprobs_after(before)
    return [(int(token), pytest.approx(row[token], abs=1e-4)) for token in row.argsort()[::-1][:k]]


def test_what_cannot_be_has_no_probability(client: SamplingClient) -> None:
    told = client.compute_logprobs(types.ModelInput.from_ints([40, NEVER, 41])).result(30)
    assert told[1] == -math.inf
    assert told[2] == pytest.approx(scores([NEVER, 41])[0], abs=1e-4)


def test_the_last_positions_of_a_prompt(client: SamplingClient) -> None:
    told = ask(client, include_prompt_logprobs=True, prompt_logprobs_last_n=2).prompt_logprobs
    assert [*told[:2]] == [None, None]
    assert told[2:] == pytest.approx(scores(PROMPT)[-2:], abs=1e-4)


def test_several_samples_have_their_prompt_scored_once(client: SamplingClient) -> None:
    response = ask(client, num_samples=3, include_prompt_logprobs=True)
    assert len(response.sequences) == 3
    assert response.prompt_logprobs[1:] == pytest.approx(scores(PROMPT), abs=1e-4)


def test_a_seed(client: SamplingClient, server: tuple[str, Any]) -> None:
    asked = {"num_samples": 3, "seed": 5, "max_tokens": 10}
    if server[0] == "sglang, tempered":
        with pytest.raises(RequestFailedError, match="heeds a seed only if it was started with --enable-det"):
            ask(client, **asked)
        return
    first, again = (ask(client, **asked), ask(client, **asked, include_prompt_logprobs=True))
    assert [it.tokens for it in first.sequences] == [it.tokens for it in again.sequences]
    assert len({tuple(it.tokens) for it in first.sequences}) == 3


def test_other_temperatures(client: SamplingClient, server: tuple[str, Any]) -> None:
    if server[0] == "sglang, tempered":
        with pytest.raises(RequestFailedError, match="SGLANG_RETURN_ORIGINAL_LOGPROB=1 in its environment"):
            ask(client, temperature=0.5)
        return
    [it] = ask(client, temperature=0.5).sequences
    assert it.logprobs == pytest.approx(scores([PROMPT[-1], *it.tokens]), abs=1e-4)


def test_targets(client: SamplingClient, server: tuple[str, Any]) -> None:
    target = types.TensorData(data=[7, -1, 8, 9, NEVER, 7], dtype="int64", shape=[3, 2])
    if server[0] == "vllm, completions":
        with pytest.raises(RequestFailedError, match="cannot score tokens of one's choice"):
            ask(client, target_prompt_logprobs=target)
        return
    told = ask(client, num_samples=2, target_prompt_logprobs=target).target_prompt_logprobs
    rows = [logprobs_after(token) for token in PROMPT[:-1]]
    expected = [[rows[0][7], 0.0], [rows[1][8], rows[1][9]], [-math.inf, rows[2][7]]]
    np.testing.assert_allclose(told.tolist(), expected, atol=1e-4)


def test_alternatives_are_refused(client: SamplingClient) -> None:
    with pytest.raises(RequestFailedError, match="cannot name alternatives to a prompt's tokens") as caught:
        ask(client, prompt_alt_tokens_k=2)
    assert caught.value.category == "user"


def test_limits_are_the_servers(client: SamplingClient) -> None:
    with pytest.raises(BadRequestError, match=f"{MODEL} has ids 0 to {VOCABULARY - 1}"):
        ask(client, prompt=[VOCABULARY])
    with pytest.raises(BadRequestError, match=f"context of {CONTEXT}"):
        ask(client, max_tokens=CONTEXT)


def test_an_adapter_is_loaded_when_it_is_asked_for(service_client: ServiceClient) -> None:
    tuned = service_client.create_sampling_client(base_model=MODEL, model_path="tinker://run/0")
    told = tuned.compute_logprobs(types.ModelInput.from_ints(PROMPT)).result(30)
    assert told[1:] == pytest.approx(scores(PROMPT, "run/0"), abs=1e-4)


def test_an_adapter_that_leads_elsewhere(service_client: ServiceClient) -> None:
    tuned = service_client.create_sampling_client(base_model=MODEL, model_path="tinker://../0")
    with pytest.raises(RequestFailedError, match="leads out of the folder of adapters"):
        ask(tuned)
