"""What the engine is given at once is bounded: more waits its turn, and blocks no event loop."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.client.journal import newest_session
from tests.waiting import wait_until
from tinker_client import SamplingClient, ServiceClient, SidecarError, TinkerError, shutdown, types
from tinker_client.local_server import LocalServer, start_local_server
from tinker_sidecar.local_server.engines.sim import expected_tokens

MODEL = "tinker-sidecar/sim"
PARAMS = types.SamplingParams(max_tokens=4, seed=1)
NUMBERS = range(1, 41)
PROMPTS = [types.ModelInput.from_ints([number]) for number in NUMBERS]
EXPECTED = [expected_tokens([number], 1, 0, 4) for number in NUMBERS]

pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture(params=[("TINKER_SIDECAR_MAX_REQUESTS", "8"), ("TINKER_SIDECAR_MAX_PROMPT_BYTES", "32")])
def _limit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight requests, or as many as have 32 bytes of prompts: eight tokens."""
    monkeypatch.setenv(*request.param)


@pytest.fixture(scope="module")
def slow_server() -> Iterator[LocalServer]:
    with closing(start_local_server("sim", "--latency", "0.4")) as server:
        yield server


async def connected(server: LocalServer) -> SamplingClient:
    service_client = ServiceClient(base_url=server.base_url, api_key="tml-tests")
    return await service_client.create_sampling_client(base_model=MODEL)


def tokens(results: list[types.SampleResponse]) -> list[list[int]]:
    return [result.sequences[0].tokens for result in results]


@pytest.mark.usefixtures("_limit")
def test_a_thread_that_submits_too_fast_is_slowed(slow_server: LocalServer) -> None:
    with ServiceClient(base_url=slow_server.base_url, api_key="tml-tests") as service_client:
        client = service_client.create_sampling_client(base_model=MODEL)
        in_flight_when_submitted = []
        futures = []
        for prompt in PROMPTS:
            futures.append(client.sample(prompt, 1, PARAMS))
            in_flight_when_submitted.append(sum(not future.done() for future in futures))

        assert max(in_flight_when_submitted) <= 8
        assert tokens([future.result(30) for future in futures]) == EXPECTED


@pytest.mark.usefixtures("_limit")
def test_an_event_loop_is_not(slow_server: LocalServer) -> None:
    async def main() -> list[types.SampleResponse]:
        client = await connected(slow_server)
        futures = [client.sample(prompt, 1, PARAMS) for prompt in PROMPTS]
        # A blocked loop would have had to wait for the answers of all but the last eight.
        assert sum(future.done() for future in futures) < len(PROMPTS) - 8
        return await asyncio.gather(*futures)

    assert tokens(asyncio.run(main())) == EXPECTED


@pytest.mark.usefixtures("_limit")
def test_a_request_may_be_cancelled_before_its_turn(slow_server: LocalServer) -> None:
    async def main() -> list[types.SampleResponse]:
        client = await connected(slow_server)
        futures = [client.sample(prompt, 1, PARAMS) for prompt in PROMPTS]
        for future in futures[4:36]:
            assert future.cancel()
        return await asyncio.gather(*futures[:4], *futures[36:])

    assert tokens(asyncio.run(main())) == EXPECTED[:4] + EXPECTED[36:]


def test_one_that_is_too_large_goes_alone(sim_server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_SIDECAR_MAX_PROMPT_BYTES", "1")
    with ServiceClient(base_url=sim_server.base_url, api_key="tml-tests") as service_client:
        client = service_client.create_sampling_client(base_model=MODEL)
        assert tokens([client.sample(prompt, 1, PARAMS).result(30) for prompt in PROMPTS]) == EXPECTED


def test_a_blocked_thread_hears_of_a_shutdown(
    slow_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINKER_SIDECAR_MAX_REQUESTS", "1")
    service_client = ServiceClient(base_url=slow_server.base_url, api_key="tml-tests")
    client = service_client.create_sampling_client(base_model=MODEL)
    slow = types.SamplingParams(max_tokens=4, seed=1)
    futures = []
    thread = threading.Thread(target=lambda: futures.extend(client.sample(p, 1, slow) for p in PROMPTS[:2]))
    thread.start()
    wait_until(lambda: len(newest_session(slow_server)["submitted"]) == 1)
    shutdown()
    thread.join(10)

    assert not thread.is_alive()
    for future in futures:
        with pytest.raises(SidecarError, match="shut down"):
            future.result(10)


@pytest.mark.parametrize("value", ["none", "-1", "0", "inf", "nan"])
def test_a_limit_must_be_a_number(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_SIDECAR_MAX_REQUESTS", value)
    with pytest.raises(TinkerError, match=f"TINKER_SIDECAR_MAX_REQUESTS must be .* got '{value}'"):
        ServiceClient(base_url="http://127.0.0.1:9", api_key="tml-tests")


def test_the_switch_interval_is_shorter_while_requests_are_in_flight(
    slow_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINKER_SIDECAR_SWITCH_INTERVAL", "0.001")
    usual = sys.getswitchinterval()
    with ServiceClient(base_url=slow_server.base_url, api_key="tml-tests") as service_client:
        client = service_client.create_sampling_client(base_model=MODEL)
        assert sys.getswitchinterval() == usual
        futures = [client.sample(prompt, 1, PARAMS) for prompt in PROMPTS[:3]]
        assert sys.getswitchinterval() == pytest.approx(0.001)
        for future in futures:
            future.result(30)
        wait_until(lambda: sys.getswitchinterval() == usual)

        cancelled = client.sample(PROMPTS[0], 1, PARAMS)
        assert cancelled.cancel()
        assert sys.getswitchinterval() == usual
