"""What waits for a server that takes few requests has little memory in the sidecar, whoever's it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psutil
import pytest

from tests.waiting import wait_until
from tinker_client import ServiceClient, stats, types
from tinker_client.local_server import LocalServer, start_local_server

SAMPLES = 50_000
PROMPT = types.ModelInput.from_ints(range(512))
PARAMS = types.SamplingParams(max_tokens=4, seed=1)


@pytest.fixture(scope="module")
def throttled_server() -> Iterator[LocalServer]:
    with closing(start_local_server("sim", "--rate", "20", "--burst", "20")) as server:
        yield server


@pytest.mark.parametrize("samplers", [1, 100])
def test_each_takes_less_than_two_kilobytes(
    samplers: int, throttled_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a task for each it would be near four."""
    monkeypatch.setenv("TINKER_SUBPROCESS_SAMPLING", "1")
    with ServiceClient(base_url=throttled_server.base_url, api_key="tml-tests") as service_client:
        clients = [
            service_client.create_sampling_client(base_model="tinker-sidecar/sim") for _ in range(samplers)
        ]
        [sidecar] = [child for child in psutil.Process().children() if "tinker_sidecar" in child.cmdline()]
        before = sidecar.memory_info().rss
        futures = [clients[number // 16 % samplers].sample(PROMPT, 1, PARAMS) for number in range(SAMPLES)]
        wait_until(lambda: stats(most_requests=0).in_flight > 0.9 * SAMPLES)
        assert sidecar.memory_info().rss - before < 2048 * SAMPLES
        for future in futures:
            future.cancel()
