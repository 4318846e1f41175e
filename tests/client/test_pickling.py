"""A client can be pickled: what travels, and that the copy works in whatever process it wakes up in."""

from __future__ import annotations

import dataclasses
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from tests.client.copies import (
    KEY,
    MODEL,
    PARAMS,
    PROMPT,
    SAMPLE_PICKLE,
    TOKENS,
    as_text,
    copied,
    in_another_process,
    sample,
)
from tinker_client import RetryConfig, SamplingClient, ServiceClient
from tinker_client.local_server import LocalServer
from tinker_sidecar.local_server.engines.sim import expected_tokens


@pytest.fixture
def sampling_client(service_client: ServiceClient) -> SamplingClient:
    return service_client.create_sampling_client(
        base_model=MODEL, retry_config=RetryConfig(progress_timeout=77)
    )


# Where it wakes up


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_copy_in_this_process(sampling_client: SamplingClient, protocol: int) -> None:
    copy = pickle.loads(pickle.dumps(sampling_client, protocol))

    assert sample(copy) == sample(sampling_client) == TOKENS
    assert repr(copy) == repr(sampling_client)
    assert copy.retry_config.progress_timeout == 77


def test_with_cloudpickle_from_a_closure(sampling_client: SamplingClient) -> None:
    task = pickle.loads(cloudpickle.dumps(lambda: sample(sampling_client)))

    assert task() == TOKENS


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
    sample(sampling_client)
    child = os.fork()
    if child == 0:
        os._exit(0 if sample(sampling_client) == TOKENS else 1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert sample(sampling_client) == TOKENS


# What travels


def test_the_state_is_a_dataclass_with_a_flag(service_client: ServiceClient, host: str) -> None:
    client = service_client.create_sampling_client(base_model=MODEL)
    _, arguments = client.__reduce__()[:2]
    state: Any
    [state] = [argument for argument in arguments if not isinstance(argument, type)]
    assert type(state).__name__ == "_SamplingClientPickleState"
    assert dataclasses.is_dataclass(type(state))
    assert state.subprocess_sampling == {"in_process": False, "sidecar": True, "shared": "shared"}[host]


def test_settings_survive(service_client: ServiceClient) -> None:
    config = RetryConfig(progress_timeout=77, enable_retry_logic=False, max_connections=3)
    client = service_client.create_sampling_client(base_model=MODEL, retry_config=config)
    assert copied(copied(client)).retry_config == config


@pytest.mark.usefixtures("host")
def test_a_key_from_the_environment_does_not_travel(
    key_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy takes the key of the process it wakes up in."""
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    client = ServiceClient(base_url=key_server.base_url).create_sampling_client(base_model=MODEL)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert KEY.encode() not in pickle.dumps(client, protocol)
    pickled = as_text(client)
    assert in_another_process(SAMPLE_PICKLE, pickled) == str(TOKENS)
    monkeypatch.delenv("TINKER_API_KEY")
    with pytest.raises(AssertionError, match="no API key"):
        in_another_process(SAMPLE_PICKLE, pickled, HOME="/nonexistent")


@pytest.mark.usefixtures("host")
def test_a_key_from_the_argument_travels(key_server: LocalServer) -> None:
    service_client = ServiceClient(base_url=key_server.base_url, api_key=KEY)
    client = service_client.create_sampling_client(base_model=MODEL)
    assert in_another_process(SAMPLE_PICKLE, as_text(client), HOME="/nonexistent") == str(TOKENS)


def test_no_key_in_any_repr(host: str, key_server: LocalServer) -> None:
    service_client = ServiceClient(base_url=key_server.base_url, api_key=KEY)
    client = service_client.create_sampling_client(base_model=MODEL)
    future = client.sample(PROMPT, 1, PARAMS)
    _, arguments = client.__reduce__()[:2]
    shown = repr(
        [service_client, client, copied(client), future, arguments, vars(client), vars(service_client)]
    )
    assert KEY not in shown
    future.result(30)


def test_repr_shows_ids(service_client: ServiceClient, host: str) -> None:
    client = service_client.create_sampling_client(base_model=MODEL)
    [session_id] = [name for name in [repr(service_client).split()[1]] if name.count("-") == 4]
    assert f"{session_id}:sample:0" in repr(client)
    assert MODEL in repr(client)
    assert repr(copied(client)) == repr(client)
