"""Results of megabytes are lent by the sidecar, and returned."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.waiting import wait_until
from tinker_client import ServiceClient, types
from tinker_client.local_server import LocalServer
from tinker_sidecar.ipc.lending import LARGE

MODEL = "tinker-sidecar/sim"
TOKENS = [number % 30_000 for number in range(20_000)]
PROMPT = types.ModelInput.from_ints(TOKENS)
PARAMS = types.SamplingParams(max_tokens=4, seed=1)


def test_they_arrive_whole_and_are_returned(
    sim_server: LocalServer, sidecars: Callable[[], list[psutil.Process]]
) -> None:
    with ServiceClient(base_url=sim_server.base_url, api_key="tml-tests") as service_client:
        client = service_client.create_sampling_client(base_model=MODEL)
        [sidecar] = sidecars()
        first = client.sample(PROMPT, 1, PARAMS, True, 20).result(30)
        results = [
            future.result(30) for future in [client.sample(PROMPT, 1, PARAMS, True, 20) for _ in range(10)]
        ]

        assert len(pickle.dumps(first)) > 10 * LARGE
        assert all(result.prompt_logprobs == first.prompt_logprobs for result in results)
        wait_until(lambda: lent_by(sidecar) == 0)

    assert len(first.prompt_logprobs or []) == len(TOKENS)
    assert pickle.loads(pickle.dumps(first)) == first  # After the sidecar's end, too.


def test_they_outlive_the_sidecar(
    sim_server: LocalServer, sidecars: Callable[[], list[psutil.Process]]
) -> None:
    service_client = ServiceClient(base_url=sim_server.base_url, api_key="tml-tests")
    client = service_client.create_sampling_client(base_model=MODEL)
    result = client.sample(PROMPT, 1, PARAMS, True, 20).result(30)
    [sidecar] = sidecars()
    sidecar.kill()
    sidecar.wait(10)

    assert [row and len(row) for row in (result.topk_prompt_logprobs or [])[:3]] == [None, 20, 20]


def lent_by(process: psutil.Process) -> int:
    targets = []
    for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # Closed since it was listed.
            targets.append(str(descriptor.readlink()))
    return sum("memfd" in target for target in targets)
