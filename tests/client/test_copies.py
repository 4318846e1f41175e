"""What the copies of a client share: a session, a heartbeat, a sidecar; and what they do not: numbers."""

from __future__ import annotations

import dataclasses
import pickle
import time
from collections.abc import Iterator
from contextlib import closing

import psutil
import pytest

from tests.client.copies import (
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
from tests.client.journal import sessions
from tests.client.recorder import Recorder, recording
from tests.connection import HOSTS, Connect, flag, option
from tests.waiting import wait_until
from tinker_client import RetryConfig, SamplingClient, ServiceClient, TinkerError
from tinker_client.local_server import LocalServer, start_local_server


def test_copies_in_one_process_share_the_session_and_the_sidecar(
    service_client: ServiceClient, sim_server: LocalServer, host: str
) -> None:
    client = service_client.create_sampling_client(base_model=MODEL)
    before = len(sessions(sim_server))
    copies = [copied(client) for _ in range(10)]
    handle = client.get_sampler_handle()
    copies += [SamplingClient.from_sampler_handle(handle, api_key="tml-tests") for _ in range(3)]
    assert all(sample(copy) == TOKENS for copy in copies)
    assert len(sessions(sim_server)) == before
    sidecars = [
        child for child in psutil.Process().children() if child.cmdline()[-2:] == ["-m", "tinker_sidecar"]
    ]
    assert len(sidecars) == (host == "sidecar")


@pytest.mark.slow
def test_copies_in_one_process_share_one_heartbeat(connect_in: Connect) -> None:
    """In all hosts, waited for at once: the first is due after 10 s."""
    connections = [connect_in(host) for host in HOSTS]
    for connection in connections:
        client = connection.sampling_client()
        copies = [copied(client) for _ in range(5)]
        assert all(sample(copy) == TOKENS for copy in copies)
    wait_until(lambda: all(connection.heartbeats for connection in connections))
    time.sleep(2)  # Were there others, they would come now: copies were made right after.
    assert [connection.heartbeats for connection in connections] == [1] * len(HOSTS)


# Numbers


@pytest.fixture(params=["true", "false"])
def join(request: pytest.FixtureRequest) -> str:
    """Whether clone ids come from the server; else they are random."""
    answer: str = request.param
    return answer


@pytest.fixture
def recorder(host: str, join: str) -> Iterator[Recorder]:
    """The front door of a server, for clients in each host."""
    assert host
    with (
        closing(start_local_server("sim", *flag("sample_join_sampling_session", join))) as server,
        recording(server.base_url) as recorder,
    ):
        yield recorder


def original(recorder: Recorder) -> SamplingClient:
    service_client = ServiceClient(base_url=recorder.base_url, api_key="tml-tests")
    return service_client.create_sampling_client(base_model=MODEL)


def numbers(recorder: Recorder) -> list[tuple[str, int]]:
    return [(call.body["sampling_session_id"], call.body["seq_id"]) for call in recorder.to("asample")]


def test_copies_never_use_the_same_number(recorder: Recorder, join: str, host: str) -> None:
    """With clone ids from the server, and with random ones: one for each process, or sidecar."""
    client = original(recorder)
    clients = [client, *(copied(client) for _ in range(3)), copied(copied(client))]
    clients.append(SamplingClient.from_sampler_handle(client.get_sampler_handle(), api_key="tml-tests"))
    futures = [each.sample(PROMPT, 1, PARAMS) for _ in range(10) for each in clients]
    assert [future.result(30).sequences[0].tokens for future in futures] == [TOKENS] * 60
    pickled = as_text(client)
    for _ in range(2):
        assert in_another_process(SAMPLE_PICKLE, pickled) == str(TOKENS)
    sent = numbers(recorder)
    assert len(sent) == 80
    assert len(set(sent)) == 80
    assert len({sampling_session_id for sampling_session_id, _ in sent}) == 1
    clones = 1 if host == "shared" else 2
    assert len(recorder.to("join_sampling_session")) == (clones if join == "true" else 0)
    assert min(seq_id for _, seq_id in sent) == 0
    assert len({seq_id // 10**9 for _, seq_id in sent}) == 1 + clones


def test_a_copy_that_has_used_up_its_numbers_gets_others(
    recorder: Recorder, join: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are four million; here they are ten."""
    monkeypatch.setattr("tinker_client.connection.clone_numbers.NUMBERS_OF_A_COPY", 10)
    unpickle, (_, state) = original(recorder).__reduce__()[:2]
    # Otherwise it would have the original's.
    state = dataclasses.replace(state, retry_config=RetryConfig(max_connections=5))
    copies = [unpickle(SamplingClient, state) for _ in range(2)]
    futures = [copy.sample(PROMPT, 1, PARAMS) for _ in range(15) for copy in copies]
    assert [future.result(30).sequences[0].tokens for future in futures] == [TOKENS] * 30
    assert len(set(numbers(recorder))) == 30


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


def test_the_copies_of_a_pools_tasks_share_the_numbers_of_their_process(
    recorder: Recorder, join: str
) -> None:
    """One clone id for all of them, one after the other or at once; a forked child has its own."""
    in_another_process(POOL, as_text(original(recorder)))
    sent = numbers(recorder)
    assert len(set(sent)) == len(sent) == 19
    clones = [seq_id // 10**9 for _, seq_id in sent]
    assert sorted(clones.count(clone) for clone in set(clones)) == [2, 17]
    assert 0 not in clones
    assert len(recorder.to("join_sampling_session")) == (2 if join == "true" else 0)


def test_copies_with_other_settings_have_other_numbers(service_client: ServiceClient) -> None:
    """Each of their own, since each asks the server for its results alone."""
    client = service_client.create_sampling_client(base_model=MODEL)
    state = client.__reduce__()[1][1]
    other = dataclasses.replace(state, retry_config=RetryConfig(max_connections=2))
    copies = [client.__reduce__()[0](SamplingClient, each) for each in (state, other, state, other)]
    futures = [copy.sample(PROMPT, 1, PARAMS) for _ in range(20) for copy in (client, *copies)]
    assert [future.result(30).sequences[0].tokens for future in futures] == [TOKENS] * 100
    assert copies[1].retry_config.max_connections == 2


def test_a_clone_id_that_is_the_originals(connect: Connect) -> None:
    """A server that says 0 leaves the choice to us: the copy would have the numbers of the original."""
    connection = connect(*option("fault", 'join_sampling_session:200,body={"client_counter": 0}'))
    # The copy's settings are others than the original's: otherwise it would share its numbers.
    handle = connection.sampling_client().get_sampler_handle()
    copy = SamplingClient.from_sampler_handle(handle, api_key="tml-tests")
    assert sample(copy) == TOKENS
    assert copy._info().result().clone > 0


def test_a_clone_id_that_cannot_be_one(connect: Connect) -> None:
    too_large = 2**63 // 10**9
    fault = f'join_sampling_session:200,body={{"client_counter": {too_large}}}'
    # The original is gone by the time there is a copy: otherwise it would share its number.
    pickled = pickle.dumps(connect(*option("fault", fault)).sampling_client())
    with pytest.raises(TinkerError, match=r"malformed answer from .*join_sampling_session"):
        sample(pickle.loads(pickled))
