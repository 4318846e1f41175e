"""Bad input: one clear error of the right class, the same from both hosts, and never a hang."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from tinker_client import (
    APIConnectionError,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    SamplingClient,
    ServiceClient,
    TinkerError,
    types,
)
from tinker_client.local_server import LocalServer, start_local_server

MODEL = "tinker-sidecar/sim"
PROMPT = types.ModelInput.from_ints([1, 2, 3])
PARAMS = types.SamplingParams(max_tokens=4)


@pytest.fixture
def sampling_client(service_client: ServiceClient) -> SamplingClient:
    return service_client.create_sampling_client(base_model=MODEL)


@pytest.fixture
def _no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.usefixtures("host", "_no_credentials")
def test_no_key_names_the_ways_to_set_one(sim_server: LocalServer) -> None:
    with pytest.raises(TinkerError, match=r"(?s)api_key=.*TINKER_API_KEY.*TINKER_CREDENTIAL_CMD.*auth login"):
        ServiceClient(base_url=sim_server.base_url)


@pytest.mark.usefixtures("host", "_no_credentials")
def test_a_malformed_key_is_refused_and_not_repeated(sim_server: LocalServer) -> None:
    with pytest.raises(TinkerError, match="'tml-'") as caught:
        ServiceClient(base_url=sim_server.base_url, api_key="sk-secret-of-another-service")
    assert "secret" not in str(caught.value)


@pytest.mark.usefixtures("host")
def test_a_wrong_key() -> None:
    server = start_local_server("sim", "--api-key", "tml-the-right-one")
    try:
        with pytest.raises(AuthenticationError, match="HTTP 401") as caught:
            ServiceClient(base_url=server.base_url, api_key="tml-a-wrong-one")
        assert caught.value.status_code == 401
    finally:
        server.close()


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(
    "base_url", ["127.0.0.1:8000", "ftp://127.0.0.1", "http://", "http://[bad", "locale"]
)
def test_a_malformed_base_url(base_url: str) -> None:
    with pytest.raises(TinkerError, match="base_url must be"):
        ServiceClient(base_url=base_url, api_key="tml-tests")


@pytest.mark.usefixtures("host")
def test_an_unreachable_server_is_told_soon() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(APIConnectionError, match=rf"cannot reach http://127\.0\.0\.1:{port}/.*refused"):
            ServiceClient(base_url=f"http://127.0.0.1:{port}", api_key="tml-tests")


def test_a_model_path_of_another_kind(service_client: ServiceClient) -> None:
    with pytest.raises(ValueError, match="model_path is '/checkpoints/7'; it must start with 'tinker://'"):
        service_client.create_sampling_client(model_path="/checkpoints/7")


def test_neither_path_nor_model(service_client: ServiceClient) -> None:
    with pytest.raises(ValueError, match=r"model_path.*base_model"):
        service_client.create_sampling_client()


def test_an_unknown_base_model(service_client: ServiceClient) -> None:
    with pytest.raises(NotFoundError, match="'gpt-2'"):
        service_client.create_sampling_client(base_model="gpt-2")


def test_an_empty_prompt(sampling_client: SamplingClient) -> None:
    for prompt in (types.ModelInput.empty(), types.ModelInput.from_ints([])):
        with pytest.raises(ValueError, match="prompt is empty"):
            sampling_client.sample(prompt, 1, PARAMS)


def test_no_samples(sampling_client: SamplingClient) -> None:
    with pytest.raises(ValueError, match=r"num_samples must be .*1 or more.*0"):
        sampling_client.sample(PROMPT, 0, PARAMS)


def test_it_is_refused_after_a_call_with_what_equals_it(sampling_client: SamplingClient) -> None:
    sampling_client.sample(PROMPT, 1, PARAMS).result(30)
    for one in (True, 1.0):
        with pytest.raises(TypeError, match="num_samples must be"):
            sampling_client.sample(PROMPT, one, PARAMS)  # type: ignore[arg-type]  # the point


def test_negative_token_ids(sampling_client: SamplingClient) -> None:
    with pytest.raises(ValueError, match=r"-5"):
        sampling_client.sample(types.ModelInput.from_ints([1, -5]), 1, PARAMS)


def test_text_for_a_prompt_says_what_to_do(sampling_client: SamplingClient) -> None:
    with pytest.raises(TypeError, match=r"tokenizer.*from_ints"):
        sampling_client.sample("The weather today is", 1, PARAMS)  # type: ignore[arg-type]  # the point


def test_more_tokens_than_the_context_holds(sampling_client: SamplingClient) -> None:
    future = sampling_client.sample(PROMPT, 1, types.SamplingParams(max_tokens=10_000_000))

    with pytest.raises(BadRequestError, match=r"(?s)max_tokens.*10000000.*131072") as caught:
        future.result(30)
    assert caught.value.status_code == 400


def test_a_closed_service_client(host: str, sim_server: LocalServer) -> None:
    service_client = ServiceClient(base_url=sim_server.base_url, api_key="tml-tests")
    sampling_client = service_client.create_sampling_client(base_model=MODEL)
    service_client.close()

    with pytest.raises(TinkerError, match="closed"):
        service_client.get_server_capabilities()
    assert host
    del sampling_client


FLOATS = types.TensorData([0.5, 0.5], "float32", [2, 1])
ONE_ROW = types.TensorData([1, 2], "int64", [2])

ARGUMENTS = {
    "a suffix without prompt logprobs": (
        {"prompt_logprobs_last_n": 2},
        ValueError,
        "include_prompt_logprobs",
    ),
    "an empty suffix": (
        {"prompt_logprobs_last_n": 0, "include_prompt_logprobs": True},
        ValueError,
        "prompt_logprobs_last_n must be a positive int",
    ),
    "targets that are no ids": ({"target_prompt_logprobs": FLOATS}, ValueError, "int64.*float32"),
    "targets without columns": (
        {"target_prompt_logprobs": ONE_ROW},
        ValueError,
        r"shape \[len\(prompt\) - 1, K\]",
    ),
    "other targets": (
        {"target_prompt_logprobs": [[1]]},
        TypeError,
        "target_prompt_logprobs must be",
    ),
    "fewer than no likeliest tokens": (
        {"topk_prompt_logprobs": -1},
        ValueError,
        "topk_prompt_logprobs must be .*-1",
    ),
    "half a token": (
        {"topk_sample_logprobs": 0.5},
        TypeError,
        "topk_sample_logprobs must be .*0.5",
    ),
    "fewer than no alternatives": (
        {"prompt_alt_tokens_k": -3},
        ValueError,
        "prompt_alt_tokens_k must be .*-3",
    ),
}


@pytest.mark.parametrize(("arguments", "error", "message"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_arguments_are_checked_at_the_call(
    sampling_client: SamplingClient, arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        sampling_client.sample(PROMPT, 1, PARAMS, **arguments)  # type: ignore[arg-type]  # the point


VALUES = {
    "no nucleus": (lambda: types.SamplingParams(top_p=0.0), ValueError, r"top_p must be .*\(0, 1\].*0.0"),
    "too much nucleus": (lambda: types.SamplingParams(top_p=1.5), ValueError, r"top_p must be .*1.5"),
    "too large a token id": (lambda: types.ModelInput.from_ints([2**31]), ValueError, "2147483648"),
    "text for token ids": (lambda: types.ModelInput.from_ints("abc"), TypeError, "abc"),  # type: ignore[arg-type]  # the point
    "an image without data": (lambda: types.ImageChunk(data=b"", format="png"), ValueError, "data"),
}


@pytest.mark.parametrize(("make", "error", "message"), VALUES.values(), ids=VALUES)
def test_values_are_checked_when_made(
    make: Callable[[], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make()


HALF_A_CHARACTER = "\ud83d"
"""What slicing text as UTF-16 leaves: no text at all."""


def test_what_cannot_be_sent_is_refused_at_the_call(sampling_client: SamplingClient) -> None:
    with pytest.raises(ValueError, match=r"params holds what cannot be sent: .*surrogates"):
        sampling_client.sample(PROMPT, 1, types.SamplingParams(max_tokens=4, stop=HALF_A_CHARACTER))
    image = types.ImageAssetPointerChunk(location=HALF_A_CHARACTER, format="png", expected_tokens=1)
    with pytest.raises(ValueError, match=r"prompt holds what cannot be sent: .*surrogates"):
        sampling_client.sample(types.ModelInput(chunks=[image]), 1, PARAMS)
    assert sampling_client.sample(PROMPT, 1, PARAMS).result(30)


def test_a_model_name_that_cannot_be_sent(service_client: ServiceClient) -> None:
    with pytest.raises(ValueError, match=r"base_model holds what cannot be sent"):
        service_client.create_sampling_client(base_model=HALF_A_CHARACTER)
    assert service_client.create_sampling_client(base_model=MODEL).sample(PROMPT, 1, PARAMS).result(30)


@pytest.mark.usefixtures("host")
def test_it_is_refused_also_where_requests_wait_in_line(
    sim_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINKER_SIDECAR_MAX_REQUESTS", "1")

    async def main() -> int:
        service_client = ServiceClient(base_url=sim_server.base_url, api_key="tml-tests")
        client = await service_client.create_sampling_client_async(base_model=MODEL)
        futures = [client.sample(PROMPT, 1, PARAMS) for _ in range(10)]
        with pytest.raises(ValueError, match="cannot be sent"):
            client.sample(PROMPT, 1, types.SamplingParams(max_tokens=4, stop=HALF_A_CHARACTER))
        return len(await asyncio.gather(*futures))

    assert asyncio.run(main()) == 10


def test_a_prompt_too_large_for_any_sidecar(
    sampling_client: SamplingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinker_client.connection.sendable.MAX_FRAME", 1 << 20)  # A gigabyte takes a while.
    with pytest.raises(ValueError, match="too large: at most 1048576"):
        sampling_client.sample(types.ModelInput.from_ints([1] * 300_000), 1, PARAMS)
    assert sampling_client.sample(PROMPT, 1, PARAMS).result(30)
