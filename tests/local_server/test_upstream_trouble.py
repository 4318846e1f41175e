"""`--engine vllm`, with a server that is away, refuses or fails: nothing is lost, and clients are told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from typing import Any

import pytest

from tests.local_server.api import Api
from tests.local_server.inference_stand_in import MODEL, logprobs_after
from tests.local_server.upstream import Upstream, start_upstream
from tests.waiting import wait_until
from tinker_client import RequestFailedError, SamplingClient, ServiceClient, types
from tinker_client.local_server import LocalServer, start_local_server


@pytest.fixture(scope="module")
def behind(upstream: Callable[..., Upstream]) -> Upstream:
    return upstream("vllm")


@pytest.fixture(scope="module")
def server(behind: Upstream, in_front: Callable[..., LocalServer]) -> LocalServer:
    return in_front(behind, "--adapters", "/adapters", "--long-poll", "1")


@pytest.fixture
def service_client(host: str, server: LocalServer) -> Iterator[ServiceClient]:
    with ServiceClient(base_url=server.base_url, api_key="tml-tests") as client:
        yield client


@pytest.fixture
def client(service_client: ServiceClient) -> SamplingClient:
    return service_client.create_sampling_client(base_model=MODEL)


@pytest.fixture
def slow(behind: Upstream) -> Iterator[None]:
    """Samples do not end."""
    behind.toggle("slow")
    yield
    if "slow" in behind.seen()["flags"]:
        behind.toggle("slow")


def submit(client: SamplingClient, last: int, **options: Any) -> Any:
    """One greedy token after `last`."""
    params = types.SamplingParams(max_tokens=1, temperature=0.0)
    return client.sample(types.ModelInput.from_ints([1, last]), 1, params, **options)


def right(last: int) -> list[int]:
    return [int(logprobs_after(last).argmax())]


def test_refusals_pass(client: SamplingClient, behind: Upstream) -> None:
    behind.make_trouble(429, 10)
    futures = {last: submit(client, last) for last in range(40, 80)}
    for last, future in futures.items():
        assert future.result(30).sequences[0].tokens == right(last)


@pytest.mark.parametrize("status", [408, 500, 503])
def test_passing_faults_pass(client: SamplingClient, behind: Upstream, status: int) -> None:
    behind.make_trouble(status, 2)
    assert submit(client, 40).result(30).sequences[0].tokens == right(40)


def test_who_comes_while_another_is_refused_is_refused_alike(server: LocalServer, behind: Upstream) -> None:
    api = Api(server.base_url)
    sampler = api.create_sampler(base_model=MODEL)
    behind.make_trouble(429, 1, **{"Retry-After": "5"})
    first = api.submit(sampler, 0)
    wait_until(lambda: behind.seen()["trouble"] == 0)
    # The server behind has refused it; the one in front may not have read that yet.
    answers = (api.asample(sampler, number) for number in count(1))
    refused = next(answer for answer in answers if answer.status != 200)
    assert (refused.status, refused.headers["retry-after"]) == (429, "5")
    assert refused.detail == f"vLLM at {behind.url} answers 429: trouble 429"
    waits = api.retrieve(first)
    assert (waits.status, waits.json["queue_state"]) == (408, "paused_capacity")
    assert waits.json["queue_state_reason"] == refused.detail
    wait_until(lambda: api.retrieve(first).status == 200)
    assert api.asample(sampler, 1).status == 200


@contextmanager
def mortal() -> Iterator[tuple[Upstream, str]]:
    """A server to kill, and the address of one in front of it, for one test."""
    with start_upstream("vllm") as behind:
        options = ("--upstream", behind.url, "--adapters", "/adapters")
        with closing(start_local_server("vllm", *options)) as server:
            yield behind, server.base_url


def test_it_is_killed_and_started_again(host: str) -> None:
    """What was asked is asked again; what comes meanwhile is told that the server is away, and waits, too."""
    with mortal() as (behind, base_url), ServiceClient(base_url=base_url, api_key="tml-tests") as service:
        client = service.create_sampling_client(base_model=MODEL)
        behind.toggle("slow")
        asked = len(behind.seen()["bodies"])
        futures = {last: submit(client, last) for last in range(40, 50)}
        wait_until(lambda: len(behind.seen()["bodies"]) == asked + 10)
        behind.kill()
        api = Api(base_url)
        sampler = api.create_sampler(base_model=MODEL)
        numbers = count()
        wait_until(lambda: api.asample(sampler, next(numbers)).status == 503)
        futures |= {last: submit(client, last) for last in range(50, 60)}
        behind.start()
        for last, future in futures.items():
            assert future.result(40).sequences[0].tokens == right(last)


def test_nothing_is_given_up_while_it_is_away(host: str) -> None:
    """However often it is tried in vain: what was not sent is nothing that it could have died of."""
    with mortal() as (behind, base_url), ServiceClient(base_url=base_url, api_key="tml-tests") as service:
        client = service.create_sampling_client(base_model=MODEL)
        behind.toggle("slow")
        asked = len(behind.seen()["bodies"])
        future = submit(client, 40)
        wait_until(lambda: len(behind.seen()["bodies"]) == asked + 1)
        behind.kill()
        time.sleep(6)  # Ten attempts or so.
        assert not future.done()
        behind.start()
        assert future.result(40).sequences[0].tokens == right(40)


def test_it_has_lost_an_adapter() -> None:
    with mortal() as (behind, base_url), ServiceClient(base_url=base_url, api_key="tml-tests") as service:
        tuned = service.create_sampling_client(base_model=MODEL, model_path="tinker://run/0")
        first = submit(tuned, 40).result(30).sequences[0].tokens
        behind.kill()
        behind.start()
        assert submit(tuned, 40).result(30).sequences[0].tokens == first != right(40)


@pytest.mark.parametrize("status", [400, 404])
def test_its_other_refusals_are_the_callers_fault(
    client: SamplingClient, behind: Upstream, status: int
) -> None:
    behind.make_trouble(status, 1)
    with pytest.raises(RequestFailedError, match=f"vLLM 0.32.0 answers {status}: trouble {status}") as caught:
        submit(client, 40).result(30)
    assert caught.value.category == "user"


def test_cancelling_hangs_up(client: SamplingClient, behind: Upstream, slow: None) -> None:
    before = behind.seen()
    future = submit(client, 40)
    wait_until(lambda: len(behind.seen()["bodies"]) > len(before["bodies"]))
    assert future.cancel()
    wait_until(lambda: behind.seen()["hung_up"] == before["hung_up"] + 1)
