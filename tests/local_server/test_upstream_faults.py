"""`--engine vllm` and the faults that vLLM has: what would come out wrong, or be its end, is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from tests.local_server.inference_stand_in import MODEL
from tests.local_server.upstream import start_upstream
from tinker_client import RequestFailedError, SamplingClient, ServiceClient, types
from tinker_client.local_server import start_local_server

PARAMS = types.SamplingParams(max_tokens=2)
PROMPT = types.ModelInput.from_ints([40, 41])


@pytest.fixture
def clients(request: pytest.FixtureRequest) -> Iterator[Callable[..., SamplingClient]]:
    """Of a vLLM with that fault."""
    with start_upstream("vllm", request.param) as behind:
        options = ("--upstream", behind.url, "--adapters", "/adapters")
        with (
            closing(start_local_server("vllm", *options)) as server,
            ServiceClient(base_url=server.base_url, api_key="tml-tests") as service_client,
        ):
            yield lambda path=None: service_client.create_sampling_client(base_model=MODEL, model_path=path)


@pytest.mark.parametrize("clients", ["cpu"], indirect=True)
def test_on_a_cpu_with_adapters_no_prompt_is_scored(clients: Callable[..., SamplingClient]) -> None:
    with pytest.raises(RequestFailedError, match="on a CPU with --enable-lora; started without it"):
        clients().compute_logprobs(PROMPT).result(30)
    for path in (None, "tinker://run/0"):
        assert clients(path).sample(PROMPT, 1, PARAMS).result(30).sequences


@pytest.mark.parametrize("clients", ["spoils"], indirect=True)
def test_an_adapter_that_stays_when_it_is_not_asked_for(clients: Callable[..., SamplingClient]) -> None:
    assert clients().sample(PROMPT, 1, PARAMS).result(30).sequences
    with pytest.raises(
        RequestFailedError, match="answers differently without an adapter since it has loaded"
    ):
        clients("tinker://run/0").sample(PROMPT, 1, PARAMS).result(30)
    with pytest.raises(RequestFailedError, match="and has to be started anew"):
        clients().sample(PROMPT, 1, PARAMS).result(30)


@pytest.mark.parametrize("clients", ["dies"], indirect=True)
def test_a_request_that_it_dies_of_is_given_up(clients: Callable[..., SamplingClient]) -> None:
    with pytest.raises(RequestFailedError, match="has gone 5 times while it did this request"):
        clients().compute_logprobs(PROMPT).result(30)
