"""A server that a program starts for itself lets in that program, its children and its clients' pickles."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import tinker_client
from tests.client.copies import SAMPLE_PICKLE, as_text, in_another_process
from tests.local_server.api import SIM, Api
from tinker_client import SamplingClient, ServiceClient, types
from tinker_client.local_server import LocalServer
from tinker_sidecar.local_server.engines.sim import expected_tokens

PROMPT = types.ModelInput.from_ints([1, 2, 3])
PARAMS = types.SamplingParams(max_tokens=4, seed=0)
TOKENS = expected_tokens([1, 2, 3], 0, 0, 4)
MAIN = ["-m", "tinker_sidecar.local_server"]


@pytest.fixture
def service_client(host: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceClient]:
    monkeypatch.setenv("TINKER_SIDECAR_LOCAL_ENGINE", "sim")
    with ServiceClient(base_url="local") as client:
        yield client


@pytest.fixture
def client(service_client: ServiceClient) -> SamplingClient:
    return service_client.create_sampling_client(base_model=SIM)


def sample(client: SamplingClient) -> list[int]:
    return client.sample(PROMPT, 1, PARAMS).result(30).sequences[0].tokens


def settings(client: ServiceClient) -> tuple[str, str]:
    found = client._session.settings
    assert found.api_key is not None
    return found.base_url, found.api_key


@pytest.mark.parametrize("key", [None, "tml-local", "tml-", "", "sk-1", "eyJ.eyJ."])
def test_a_stranger_sees_nothing(
    service_client: ServiceClient, client: SamplingClient, key: str | None
) -> None:
    assert sample(client) == TOKENS
    stranger = Api(settings(service_client)[0], key)
    for path in ("/local/journal", "/local/requests", "get_server_capabilities", "samplers/x"):
        assert stranger.get(path).status == 401
    for path in ("client/config", "create_session", "asample", "retrieve_future", "retrieve_futures"):
        assert stranger.post(path, {}).status == 401


def test_the_program_sees_all(service_client: ServiceClient, client: SamplingClient) -> None:
    assert sample(client) == TOKENS
    base_url, key = settings(service_client)
    [session] = Api(base_url, key).get("/local/journal").json["sessions"].values()
    assert len(session["submitted"]) == 1


def test_each_start_has_another_key(service_client: ServiceClient) -> None:
    first = settings(service_client)[1]
    tinker_client.shutdown()
    with ServiceClient(base_url="local") as second:
        assert settings(second)[1] != first


def test_the_key_is_on_no_command_line_and_known_to_the_programs_own_processes_alone(
    service_client: ServiceClient, client: SamplingClient
) -> None:
    key = settings(service_client)[1]
    children = psutil.Process().children()
    assert any(MAIN[1] in child.cmdline() for child in children)
    assert all(key not in " ".join(child.cmdline()) for child in children)
    assert key.encode() not in Path("/proc/self/environ").read_bytes()
    sidecar = [child for child in children if MAIN[1] not in child.cmdline()]
    assert all(key not in str(child.environ()) for child in sidecar)
    tinker_client.shutdown()
    inherited = subprocess.run([sys.executable, "-c", "import os; print(os.environ)"], capture_output=True)
    assert key.encode() not in inherited.stdout
    assert key not in repr([service_client, client, vars(client), vars(service_client)])


def test_a_key_of_the_users_is_not_needed(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """Nor does one of another kind do harm."""
    monkeypatch.setenv("TINKER_SIDECAR_LOCAL_ENGINE", "sim")
    monkeypatch.setenv("TINKER_API_KEY", "tml-of-another-service")
    with ServiceClient(base_url="local", api_key="tml-this-one-neither") as service_client:
        assert sample(service_client.create_sampling_client(base_model=SIM)) == TOKENS


def test_a_pickled_client_works_anywhere(client: SamplingClient) -> None:
    assert sample(pickle.loads(pickle.dumps(client))) == TOKENS
    assert in_another_process(SAMPLE_PICKLE, as_text(client), HOME="/nonexistent") == str(TOKENS)


CHILDREN = """
import os
from tinker_client import SamplingClient, ServiceClient, types

def sample(client):
    params = types.SamplingParams(max_tokens=4, seed=0)
    future = client.sample(types.ModelInput.from_ints([1, 2, 3]), 1, params)
    return future.result(30).sequences[0].tokens

client = ServiceClient(base_url="local").create_sampling_client(base_model="tinker-sidecar/sim")
handle = client.get_sampler_handle()
told = [sample(client), sample(SamplingClient.from_sampler_handle(handle))]
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    again = ServiceClient(base_url="local").create_sampling_client(base_model="tinker-sidecar/sim")
    clients = client, SamplingClient.from_sampler_handle(handle), again
    os.write(writing, str([sample(each) for each in clients]).encode())
    os._exit(0)
os.waitpid(child, 0)
print(told, os.read(reading, 1000).decode())
"""


@pytest.mark.usefixtures("host")
def test_a_handle_works_in_the_program_and_in_its_forked_children() -> None:
    told = in_another_process(CHILDREN, TINKER_SIDECAR_LOCAL_ENGINE="sim", HOME="/nonexistent")
    assert told == f"{[TOKENS] * 2} {[TOKENS] * 3}"


HOSTS = {
    "127.0.0.1": 200,
    "127.0.0.1:80": 200,
    "localhost:1": 200,
    "LocalHost": 200,
    "[::1]:8000": 200,
    "evil.example": 403,
    "evil.example:8000": 403,
    "localhost.evil.example": 403,
    "127.0.0.1.evil.example": 403,
    "10.0.0.1": 403,
    "": 403,
    "[": 403,
}


@pytest.mark.parametrize(("name", "status"), HOSTS.items())
def test_a_web_page_that_has_its_name_resolve_to_this_machine(
    sim_server: LocalServer, name: str, status: int
) -> None:
    """DNS rebinding: of a server started by hand, which has no key, too."""
    api = Api(sim_server.base_url)
    for path in ("get_server_capabilities", "/local/journal", "healthz"):
        answer = api.get(path, host=name)
        assert answer.status == status
        if status == 403:
            assert answer.detail == "this server answers to 127.0.0.1, [::1] and localhost alone"
