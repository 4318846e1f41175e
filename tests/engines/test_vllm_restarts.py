"""`--engine vllm` when a real vLLM is killed with samples under way, and started again: nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from tests.local_server.api import Api
from tests.waiting import wait_until
from tinker_client import ServiceClient, types
from tinker_client.local_server import start_local_server
from tools import vllm_cpu
from tools.vllm_cpu import Vllm

pytestmark = [
    pytest.mark.skipif(vllm_cpu.why_missing() is not None, reason=str(vllm_cpu.why_missing())),
    pytest.mark.timeout(900),
]


@pytest.fixture
def vllm(tmp_path: Path) -> Iterator[Vllm]:
    with Vllm(tmp_path / "log", "--enable-scale-out") as vllm:
        yield vllm


def test_nothing_is_lost(host: str, vllm: Vllm) -> None:
    params = types.SamplingParams(max_tokens=100, temperature=0.0)
    prompts = [types.ModelInput.from_ints([1, 100 + number]) for number in range(8)]
    with (
        closing(start_local_server("vllm", "--upstream", vllm.url, start_timeout=180)) as server,
        ServiceClient(base_url=server.base_url, api_key="tml-tests") as service_client,
    ):
        client = service_client.create_sampling_client(base_model=vllm.model)
        before = [client.sample(prompt, 1, params) for prompt in prompts[:4]]
        wait_until(lambda: vllm.running() == 4)
        vllm.kill()
        api = Api(server.base_url)
        sampler, numbers = api.create_sampler(base_model=vllm.model), count()
        wait_until(lambda: api.asample(sampler, next(numbers)).status == 503)
        meanwhile = [client.sample(prompt, 1, params) for prompt in prompts[4:]]
        vllm.start()
        told = [future.result(300).sequences[0].tokens for future in before + meanwhile]
        again = [client.sample(prompt, 1, params) for prompt in prompts]
        # What else is computed at the time shows in the last digits, and so after a while in a token.
        assert [it[:10] for it in told] == [it.result(300).sequences[0].tokens[:10] for it in again]
