"""A client can be pickled, and the copy works in whatever process it wakes up in."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import cloudpickle
import pytest

from tinker_client import RetryConfig, SamplingClient, ServiceClient, types
from tinker_client.local_server import LocalServer
from tinker_sidecar.local_server.engines.sim import expected_tokens

PARAMS = types.SamplingParams(max_tokens=8, seed=3)


@pytest.fixture
def sampling_client(service_client: ServiceClient) -> SamplingClient:
    return service_client.create_sampling_client(
        base_model="tinker-sidecar/sim", retry_config=RetryConfig(progress_timeout=77)
    )


def sample_tokens(client: SamplingClient, token: int) -> list[int]:
    return client.sample(types.ModelInput.from_ints([token]), 1, PARAMS).result(30).sequences[0].tokens


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_copy_in_this_process(sampling_client: SamplingClient, protocol: int) -> None:
    copy = pickle.loads(pickle.dumps(sampling_client, protocol))

    assert sample_tokens(copy, 4) == sample_tokens(sampling_client, 4) == expected_tokens([4], 3, 0, 8)
    assert repr(copy) == repr(sampling_client)
    assert copy.retry_config.progress_timeout == 77


def test_with_cloudpickle_from_a_closure(sampling_client: SamplingClient) -> None:
    task = pickle.loads(cloudpickle.dumps(lambda: sample_tokens(sampling_client, 9)))

    assert task() == expected_tokens([9], 3, 0, 8)


POOLS = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from tinker_client import ServiceClient, types

def sample_tokens(client, token):
    params = types.SamplingParams(max_tokens=8, seed=3)
    return client.sample(types.ModelInput.from_ints([token]), 1, params).result(30).sequences[0].tokens

if __name__ == "__main__":
    client = ServiceClient().create_sampling_client(base_model="tinker-sidecar/sim")
    sample_tokens(client, 1)
    context = multiprocessing.get_context(sys.argv[1])
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        print(list(pool.map(sample_tokens, [client] * 6, range(1, 7))))
    with context.Pool(2) as pool:  # Its workers are daemonic: they may have no multiprocessing children.
        print(pool.starmap(sample_tokens, [(client, token) for token in range(1, 7)]))
"""


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_copies_in_worker_processes(sim_server: LocalServer, method: str, tmp_path: Path) -> None:
    script = tmp_path / "pools.py"
    script.write_text(POOLS)
    done = subprocess.run(
        [sys.executable, script, method],
        env=os.environ | {"TINKER_BASE_URL": sim_server.base_url, "TINKER_API_KEY": "tml-tests"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    expected = str([expected_tokens([token], 3, 0, 8) for token in range(1, 7)])
    assert done.stdout.splitlines() == [expected, expected], done.stderr
    assert done.stderr == ""


def test_a_forked_child_is_a_copy(sampling_client: SamplingClient) -> None:
    sample_tokens(sampling_client, 1)
    child = os.fork()
    if child == 0:
        ok = sample_tokens(sampling_client, 6) == expected_tokens([6], 3, 0, 8)
        os._exit(0 if ok else 1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert sample_tokens(sampling_client, 7) == expected_tokens([7], 3, 0, 8)
