"""When a sampler counts as stuck, and when not."""

from __future__ import annotations

from contextlib import closing

import pytest

from tinker_client import RetryConfig, ServiceClient, types
from tinker_client.local_server import start_local_server
from tinker_sidecar.local_server.engines.sim import expected_tokens

MODEL = "tinker-sidecar/sim"
PROMPT = types.ModelInput.from_ints([1, 2, 3])
PARAMS = types.SamplingParams(max_tokens=4, seed=0)
TOKENS = expected_tokens([1, 2, 3], 0, 0, 4)


def test_by_default_it_is_minutes_not_hours() -> None:
    config = RetryConfig()
    assert config.enable_stuck_detection
    assert 60 <= config.progress_timeout <= 3600


@pytest.mark.usefixtures("host")
def test_a_slow_server_is_not_a_stuck_one() -> None:
    """A result is progress, and one a second keeps the slowest request alive."""
    with (
        closing(start_local_server("sim", "--latency", "0", "--tokens-per-second", "1")) as server,
        ServiceClient(base_url=server.base_url, api_key="tml-tests") as service_client,
    ):
        config = RetryConfig(progress_timeout=2.5)
        client = service_client.create_sampling_client(base_model=MODEL, retry_config=config)
        lengths = range(1, 6)
        futures = [client.sample(PROMPT, 1, types.SamplingParams(max_tokens=length)) for length in lengths]
        assert [len(future.result(30).sequences[0].tokens) for future in futures] == [*lengths]


@pytest.mark.usefixtures("host")
def test_the_server_may_switch_it_off() -> None:
    arguments = ("--latency", "1.5", "--client-config", "sample_enable_stuck_detection=false")
    with (
        closing(start_local_server("sim", *arguments)) as server,
        ServiceClient(base_url=server.base_url, api_key="tml-tests") as service_client,
    ):
        config = RetryConfig(progress_timeout=0.3)
        client = service_client.create_sampling_client(base_model=MODEL, retry_config=config)
        assert client.sample(PROMPT, 1, PARAMS).result(30).sequences[0].tokens == TOKENS
