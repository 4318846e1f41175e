"""Copies of a client: what travels in a pickle or handle, and what copies share."""

from __future__ import annotations

import base64
import dataclasses
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests.client.journal import newest_session, sessions
from tests.client.recorder import Recorder, recording
from tests.waiting import wait_until
from tinker_client import RetryConfig, SamplingClient, ServiceClient, TinkerError, types
from tinker_sidecar.local_server.engines.sim import expected_tokens
from tinker_sidecar.local_server.launch import LocalServer, start_local_server

MODEL = "tinker-sidecar/sim"
PROMPT = types.ModelInput.from_ints([1, 2, 3])
PARAMS = types.SamplingParams(max_tokens=4, seed=0)
TOKENS = expected_tokens([1, 2, 3], 0, 0, 4)
KEY = "tml-very-secret"


def sample(client: SamplingClient) -> list[int]:
    return client.sample(PROMPT, 1, PARAMS).result(30).sequences[0].tokens


def copied(client: SamplingClient) -> SamplingClient:
    copy: SamplingClient = pickle.loads(pickle.dumps(client))
    return copy


def in_another_process(program: str, *arguments: str, **environment: str) -> str:
    """What `program` prints, run by a Python that shares nothing with this one."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


SAMPLE_PICKLE = """
import base64, pickle, sys
from tinker_client import types
client = pickle.loads(base64.b64decode(sys.argv[1]))
params = types.SamplingParams(max_tokens=4, seed=0)
futures = [client.sample(types.ModelInput.from_ints([1, 2, 3]), 1, params) for _ in range(10)]
print(futures[-1].result(30).sequences[0].tokens)
"""

SAMPLE_HANDLE = """
import sys
from tinker_client import SamplingClient, types
client = SamplingClient.from_sampler_handle(sys.argv[1])
params = types.SamplingParams(max_tokens=4, seed=0)
print(client.sample(types.ModelInput.from_ints([1, 2, 3]), 1, params).result(30).sequences[0].tokens)
"""


def as_text(client: SamplingClient) -> str:
    return base64.b64encode(pickle.dumps(client)).decode()


# Secrets


@pytest.fixture
def key_server() -> Iterator[LocalServer]:
    """A server that lets in `KEY` alone."""
    server = start_local_server("sim", "--latency", "0.01", "--api-key", KEY)
    yield server
    server.close()


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


@pytest.mark.usefixtures("host")
def test_a_handle_holds_no_key(key_server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even one that was given as an argument."""
    service_client = ServiceClient(base_url=key_server.base_url, api_key=KEY)
    handle = service_client.create_sampling_client(base_model=MODEL).get_sampler_handle()
    assert KEY.encode() not in base64.urlsafe_b64decode(handle)
    configured = {"TINKER_BASE_URL": key_server.base_url, "TINKER_API_KEY": KEY}
    assert in_another_process(SAMPLE_HANDLE, handle, **configured) == str(TOKENS)
    monkeypatch.setenv("TINKER_API_KEY", "tml-a-wrong-one")
    assert sample(SamplingClient.from_sampler_handle(handle, api_key=KEY)) == TOKENS


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


# What travels


def test_the_state_is_a_dataclass_with_a_flag(service_client: ServiceClient, host: str) -> None:
    client = service_client.create_sampling_client(base_model=MODEL)
    _, arguments = client.__reduce__()[:2]
    state: Any
    [state] = [argument for argument in arguments if not isinstance(argument, type)]
    assert type(state).__name__ == "_SamplingClientPickleState"
    assert dataclasses.is_dataclass(type(state))
    assert state.subprocess_sampling is (host == "sidecar")


def test_settings_survive(service_client: ServiceClient) -> None:
    config = RetryConfig(progress_timeout=77, enable_retry_logic=False, max_connections=3)
    client = service_client.create_sampling_client(base_model=MODEL, retry_config=config)
    assert copied(copied(client)).retry_config == config


@pytest.mark.parametrize("handle", ["", "%%%", "e30=", "bm90IGpzb24=", "[]", "é"])
def test_what_is_not_a_handle(handle: str) -> None:
    with pytest.raises(ValueError, match="handle"):
        SamplingClient.from_sampler_handle(handle, api_key=KEY)


def test_a_handle_of_a_session_that_is_gone(service_client: ServiceClient) -> None:
    handle = service_client.create_sampling_client(base_model=MODEL).get_sampler_handle()
    fields = base64.urlsafe_b64decode(handle).replace(b":sample:0", b":sample:9")
    client = SamplingClient.from_sampler_handle(base64.urlsafe_b64encode(fields).decode(), api_key=KEY)
    with pytest.raises(TinkerError, match="unknown"):
        sample(client)


# What is shared


def test_copies_in_one_process_share_the_session_and_the_sidecar(
    service_client: ServiceClient, sim_server: LocalServer, host: str
) -> None:
    client = service_client.create_sampling_client(base_model=MODEL)
    before = len(sessions(sim_server))
    copies = [copied(client) for _ in range(10)]
    copies += [SamplingClient.from_sampler_handle(client.get_sampler_handle(), api_key=KEY) for _ in range(3)]
    assert all(sample(copy) == TOKENS for copy in copies)
    assert len(sessions(sim_server)) == before
    sidecars = [
        child for child in psutil.Process().children() if child.cmdline()[-2:] == ["-m", "tinker_sidecar"]
    ]
    assert len(sidecars) == (host == "sidecar")


@pytest.mark.slow
def test_copies_in_one_process_share_one_heartbeat(host: str, sim_server: LocalServer) -> None:
    with ServiceClient(base_url=sim_server.base_url, api_key="tml-tests") as service_client:
        client = service_client.create_sampling_client(base_model=MODEL)
        copies = [copied(client) for _ in range(5)]
        assert all(sample(copy) == TOKENS for copy in copies)
        wait_until(lambda: newest_session(sim_server)["heartbeats"])
        time.sleep(2)  # Were there others, they would come now: copies were made right after.
        assert len(newest_session(sim_server)["heartbeats"]) == 1


# Numbers


def numbers(recorder: Recorder) -> list[tuple[str, int]]:
    return [(call.body["sampling_session_id"], call.body["seq_id"]) for call in recorder.to("asample")]


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("join", ["true", "false"])
def test_copies_never_use_the_same_number(join: str) -> None:
    """With clone ids from the server, and with random ones: one for each process."""
    server = start_local_server("sim", "--client-config", f"sample_join_sampling_session={join}")
    try:
        with recording(server.base_url) as recorder:
            service_client = ServiceClient(base_url=recorder.base_url, api_key="tml-tests")
            client = service_client.create_sampling_client(base_model=MODEL)
            clients = [client, *(copied(client) for _ in range(3)), copied(copied(client))]
            clients.append(
                SamplingClient.from_sampler_handle(client.get_sampler_handle(), api_key="tml-tests")
            )
            futures = [each.sample(PROMPT, 1, PARAMS) for _ in range(10) for each in clients]
            assert [future.result(30).sequences[0].tokens for future in futures] == [TOKENS] * 60
            pickled = as_text(client)
            for _ in range(2):
                assert in_another_process(SAMPLE_PICKLE, pickled) == str(TOKENS)
            sent = numbers(recorder)
            joins = recorder.to("join_sampling_session")
    finally:
        server.close()
    assert len(sent) == 80
    assert len(set(sent)) == 80
    assert len({sampling_session_id for sampling_session_id, _ in sent}) == 1
    assert len(joins) == (2 if join == "true" else 0)
    assert min(seq_id for _, seq_id in sent) == 0
    assert len({seq_id // 10**9 for _, seq_id in sent}) == 3


POOL = """
import base64, gc, os, pickle, sys
from tinker_client import types

def task(number):
    "What a pool's worker does: the client comes with each task."
    client = pickle.loads(pickled)
    future = client.sample(types.ModelInput.from_ints([number]), 1, types.SamplingParams(max_tokens=1))
    future.result(30)
    return client

pickled = base64.b64decode(sys.argv[1])
for number in range(8):
    task(number)
    gc.collect()
at_once = [task(number) for number in range(8)]
if os.fork() == 0:
    task(1)
    at_once[0].sample(types.ModelInput.from_ints([1]), 1, types.SamplingParams(max_tokens=1)).result(30)
    os._exit(0)
os.wait()
task(2)
"""


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("join", ["true", "false"])
def test_the_copies_of_a_pools_tasks_share_the_numbers_of_their_process(join: str) -> None:
    """One clone id for all of them, one after the other or at once; a forked child has its own."""
    server = start_local_server("sim", "--client-config", f"sample_join_sampling_session={join}")
    try:
        with recording(server.base_url) as recorder:
            service_client = ServiceClient(base_url=recorder.base_url, api_key="tml-tests")
            client = service_client.create_sampling_client(base_model=MODEL)
            in_another_process(POOL, as_text(client))
            sent = numbers(recorder)
            joins = len(recorder.to("join_sampling_session"))
    finally:
        server.close()
    assert len(set(sent)) == len(sent) == 19
    clones = [seq_id // 10**9 for _, seq_id in sent]
    assert sorted(clones.count(clone) for clone in set(clones)) == [2, 17]
    assert 0 not in clones
    assert joins == (2 if join == "true" else 0)


def test_copies_with_other_settings_have_other_numbers(service_client: ServiceClient) -> None:
    """Each of their own, since each asks the server for its results alone."""
    client = service_client.create_sampling_client(base_model=MODEL)
    state = client.__reduce__()[1][1]
    other = dataclasses.replace(state, retry_config=RetryConfig(max_connections=2))
    copies = [client.__reduce__()[0](SamplingClient, each) for each in (state, other, state, other)]
    futures = [copy.sample(PROMPT, 1, PARAMS) for _ in range(20) for copy in (client, *copies)]
    assert [future.result(30).sequences[0].tokens for future in futures] == [TOKENS] * 100
    assert copies[1].retry_config.max_connections == 2


@pytest.mark.usefixtures("host")
def test_a_copy_of_a_sampler_that_is_gone_fails_each_time(sim_server: LocalServer) -> None:
    """What one copy was told is no answer to the next."""
    with ServiceClient(base_url=sim_server.base_url, api_key="tml-tests") as service_client:
        handle = service_client.create_sampling_client(base_model=MODEL).get_sampler_handle()
        fields = base64.urlsafe_b64decode(handle)
        gone = base64.urlsafe_b64encode(fields.replace(b":sample:0", b":sample:7")).decode()
        copies = [SamplingClient.from_sampler_handle(gone) for _ in range(2)]
        for copy in copies:
            with pytest.raises(TinkerError, match="unknown"):
                sample(copy)
        service_client.create_sampling_client(base_model=MODEL)
        assert copies[0]._sampler is copies[1]._sampler
        later = SamplingClient.from_sampler_handle(gone)
        assert later._sampler is not copies[0]._sampler


@pytest.mark.usefixtures("host")
def test_a_clone_id_that_is_the_originals() -> None:
    """A server that says 0 leaves the choice to us: the copy would have the numbers of the original."""
    server = start_local_server("sim", "--fault", 'join_sampling_session:200,body={"client_counter": 0}')
    try:
        with ServiceClient(base_url=server.base_url, api_key="tml-tests") as service_client:
            settings = RetryConfig(retry_delay_base=0.1)  # Copies with others do not share its numbers.
            client = service_client.create_sampling_client(base_model=MODEL, retry_config=settings)
            copy = SamplingClient.from_sampler_handle(client.get_sampler_handle(), api_key="tml-tests")
            assert sample(copy) == TOKENS
            assert copy._info().result().clone > 0
    finally:
        server.close()


@pytest.mark.usefixtures("host")
def test_a_clone_id_that_cannot_be_one() -> None:
    fault = f'join_sampling_session:200,body={{"client_counter": {2**63 // 10**9}}}'
    server = start_local_server("sim", "--fault", fault)
    try:
        with ServiceClient(base_url=server.base_url, api_key="tml-tests") as service_client:
            pickled = pickle.dumps(service_client.create_sampling_client(base_model=MODEL))
            with pytest.raises(TinkerError, match=r"malformed answer from .*join_sampling_session"):
                sample(pickle.loads(pickled))
    finally:
        server.close()
