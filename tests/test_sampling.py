"""What a sampling call gives, the same from both hosts."""

from __future__ import annotations

import asyncio
import concurrent.futures
from contextlib import closing

import pytest

from tinker_client import SamplingClient, ServiceClient, types
from tinker_client.local_server import start_local_server
from tinker_sidecar.local_server.engines.sim import expected_tokens

pytestmark = pytest.mark.in_all_hosts

MODEL = "tinker-sidecar/sim"
TOKENS = [11, 22, 33, 44]
PROMPT = types.ModelInput.from_ints(TOKENS)
PARAMS = types.SamplingParams(max_tokens=8, seed=3)


@pytest.fixture
def sampling_client(service_client: ServiceClient) -> SamplingClient:
    return service_client.create_sampling_client(base_model=MODEL)


def test_samples_are_what_the_server_drew(sampling_client: SamplingClient) -> None:
    result = sampling_client.sample(prompt=PROMPT, sampling_params=PARAMS, num_samples=3).result()

    assert [sample.tokens for sample in result.samples] == [
        expected_tokens(TOKENS, 3, index, 8) for index in range(3)
    ]
    assert result.sequences is result.samples
    assert all(sample.stop_reason == "length" for sample in result.samples)
    assert all(len(sample.logprobs or ()) == 8 for sample in result.samples)
    assert len({sample.sequence_id for sample in result.samples}) == 3
    assert result.prompt_logprobs is None


def test_prompt_logprobs_have_one_entry_a_token(sampling_client: SamplingClient) -> None:
    result = sampling_client.sample(PROMPT, 1, PARAMS, True, 2).result()

    logprobs, topk = result.prompt_logprobs, result.topk_prompt_logprobs
    assert logprobs is not None
    assert topk is not None
    assert logprobs[0] is None
    assert all(logprob < 0 for logprob in logprobs[1:] if logprob is not None)
    assert len(logprobs) == len(topk) == len(TOKENS)
    assert [len(row or ()) for row in topk] == [0, 2, 2, 2]


def test_compute_logprobs_is_the_prompt_logprobs_of_a_sample(sampling_client: SamplingClient) -> None:
    expected = (
        sampling_client.sample(PROMPT, 1, PARAMS, include_prompt_logprobs=True).result().prompt_logprobs
    )

    assert sampling_client.compute_logprobs(PROMPT).result() == expected
    assert asyncio.run(sampling_client.compute_logprobs_async(PROMPT)) == expected


def test_awaiting_gives_what_result_gives(sampling_client: SamplingClient) -> None:
    async def all_ways() -> list[types.SampleResponse]:
        future = sampling_client.sample(PROMPT, 1, PARAMS)
        return [
            await future,
            await future,  # Any number of times.
            await future.result_async(timeout=30),
            await future.coroutine(),
            await asyncio.wrap_future(future),
            await sampling_client.sample_async(PROMPT, 1, PARAMS),
            future.result(),
        ]

    tokens = [response.sequences[0].tokens for response in asyncio.run(all_ways())]

    assert tokens == [expected_tokens(TOKENS, 3, 0, 8)] * 7


def test_many_requests_at_once_keep_their_own_answers(sampling_client: SamplingClient) -> None:
    prompts = [[number, number + 1] for number in range(1, 301)]
    futures = {
        sampling_client.sample(types.ModelInput.from_ints(prompt), 1, PARAMS): prompt for prompt in prompts
    }

    for future in concurrent.futures.as_completed(futures, timeout=30):
        assert future.result().sequences[0].tokens == expected_tokens(futures[future], 3, 0, 8)  # type: ignore[index]  # as_completed forgets the subclass


def test_each_call_asks_for_what_its_arguments_hold_by_then(sampling_client: SamplingClient) -> None:
    prompt = types.ModelInput.from_ints(TOKENS)
    stops: list[int] = []
    params = types.SamplingParams(max_tokens=8, seed=3, stop=stops)
    first = sampling_client.sample(prompt, 1, params).result().sequences[0]
    assert (first.tokens, first.stop_reason) == (expected_tokens(TOKENS, 3, 0, 8), "length")

    assert isinstance(params.stop, list)
    params.stop.append(first.tokens[2])
    second = sampling_client.sample(prompt, 1, params).result().sequences[0]
    assert (second.tokens, second.stop_reason) == (first.tokens[:3], "stop")

    params.stop.clear()
    prompt.chunks.append(types.EncodedTextChunk(tokens=[55]))
    third = sampling_client.sample(prompt, 1, params).result().sequences[0]
    assert third.tokens == expected_tokens([*TOKENS, 55], 3, 0, 8)


def test_a_client_from_saved_weights(service_client: ServiceClient) -> None:
    sampling_client = service_client.create_sampling_client(model_path="tinker://run-1/weights/7")

    assert sampling_client.get_base_model() == MODEL
    assert sampling_client.sample(PROMPT, 1, PARAMS).result().sequences[0].tokens


def test_creating_a_client_is_awaitable_and_blocks_no_loop(service_client: ServiceClient) -> None:
    async def create() -> list[str]:
        now = service_client.create_sampling_client(base_model=MODEL)
        early = now.sample(PROMPT, 1, PARAMS)  # Before the server has confirmed the client.
        awaited = await now
        other = await service_client.create_sampling_client_async(base_model=MODEL)
        assert awaited is now
        assert (await early).sequences[0].tokens == expected_tokens(TOKENS, 3, 0, 8)
        return [await awaited.get_base_model_async(), await other.get_base_model_async()]

    assert asyncio.run(create()) == [MODEL, MODEL]


def test_server_capabilities(service_client: ServiceClient) -> None:
    capabilities = service_client.get_server_capabilities()

    assert [model.model_name for model in capabilities.supported_models] == [MODEL]
    assert asyncio.run(service_client.get_server_capabilities_async()) == capabilities


def test_thousands_of_long_polls_at_once(host: str) -> None:
    """Each request holds a connection for as long as its answer takes."""

    with (
        closing(
            start_local_server(
                "sim", "--latency", "2", "--client-config", "sample_use_retrieve_futures=false"
            )
        ) as server,
        ServiceClient(base_url=server.base_url, api_key="tml-tests") as service_client,
    ):
        client = service_client.create_sampling_client(base_model=MODEL)
        futures = [client.sample(PROMPT, 1, PARAMS) for _ in range(2000)]
        assert {tuple(future.result(50).sequences[0].tokens) for future in futures} == {
            tuple(expected_tokens(TOKENS, 3, 0, 8))
        }
