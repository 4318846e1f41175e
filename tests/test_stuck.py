"""When nothing finishes any more, the caller hears of it, and of what is pending."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tinker_client import APIConnectionError, RetryConfig, SamplingClient, ServiceClient, types
from tinker_client.local_server import start_local_server

PROMPT = types.ModelInput.from_ints([1, 2, 3])
PARAMS = types.SamplingParams(max_tokens=4)


@pytest.fixture
def slow_service(host: str) -> Iterator[ServiceClient]:
    assert host
    with (
        closing(start_local_server("sim", "--latency", "50")) as server,
        ServiceClient(base_url=server.base_url, api_key="tml-tests") as service_client,
    ):
        yield service_client


def create(service_client: ServiceClient, retry_config: RetryConfig) -> SamplingClient:
    return service_client.create_sampling_client(base_model="tinker-sidecar/sim", retry_config=retry_config)


def test_pending_requests_are_named_with_their_ages(slow_service: ServiceClient) -> None:
    client = create(slow_service, RetryConfig(progress_timeout=1))
    futures = [client.sample(PROMPT, 1, PARAMS) for _ in range(12)]

    for future in futures:
        with pytest.raises(APIConnectionError, match=r"stuck.*: 0 \(1 s\), 1 \(1 s\), .* and 2 more"):
            future.result(30)


def test_detection_can_be_switched_off(slow_service: ServiceClient) -> None:
    client = create(slow_service, RetryConfig(progress_timeout=0.5, enable_stuck_detection=False))
    future = client.sample(PROMPT, 1, PARAMS)

    with pytest.raises(TimeoutError):
        future.result(3)
    assert not future.done()
    assert future.cancel()
