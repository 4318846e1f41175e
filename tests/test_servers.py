"""Whatever way a server hands out its results, callers get the same."""

from __future__ import annotations

from contextlib import closing

import pytest

from tinker_client import ServiceClient, types
from tinker_client.local_server import start_local_server
from tinker_sidecar.local_server.engines.sim import expected_tokens

PROMPT = list(range(1, 40))

SERVERS = {
    "json": ["--result-encoding", "json"],
    "protobuf": ["--result-encoding", "protobuf"],
    "a poll for each request": ["--client-config", "sample_use_retrieve_futures=false"],
    "one poll for all requests": ["--client-config", "sample_use_retrieve_futures=true"],
    "short long polls": [
        "--client-config",
        "sample_use_retrieve_futures=false",
        "--latency",
        "0.5",
        "--long-poll",
        "0.1",
    ],
    "sizes first": ["--client-config", "sample_use_retrieve_futures=false", "--inline-result-bytes", "10"],
    "access tokens": ["--jwt"],
    "access tokens that expire": ["--jwt", "--jwt-lifetime", "1"],
    "clone ids": ["--client-config", "sample_join_sampling_session=true"],
}


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("arguments", SERVERS.values(), ids=SERVERS)
def test_results_are_the_same(arguments: list[str]) -> None:
    with (
        closing(start_local_server("sim", "--latency", "0.01", *arguments)) as server,
        ServiceClient(base_url=server.base_url, api_key="tml-tests") as service_client,
    ):
        client = service_client.create_sampling_client(base_model="tinker-sidecar/sim")
        prompt = types.ModelInput.from_ints(PROMPT)
        params = types.SamplingParams(max_tokens=6, seed=1, stop="never")
        futures = [client.sample(prompt, 2, params, True, 3) for _ in range(20)]
        results = [future.result(30) for future in futures]
        logprobs = client.compute_logprobs(prompt).result(30)

    for result in results:
        assert [sample.tokens for sample in result.samples] == [
            expected_tokens(PROMPT, 1, index, 6) for index in range(2)
        ]
        assert result.prompt_logprobs == logprobs
        assert [row and len(row) for row in result.topk_prompt_logprobs or []] == [None] + [3] * 38
    assert len(logprobs) == len(PROMPT)
    assert logprobs[0] is None
