"""An engine in which nothing is open any more ends, with its sidecar, and the next use starts another."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

import psutil
import pytest

import tinker_client
from tests.connection import HOSTS, PARAMS, prompt
from tests.leaks import belongings, leaked
from tests.local_server.api import SIM
from tests.waiting import PATIENCE, has_ended, wait_until
from tinker_client import APIConnectionError, SamplingClient, ServiceClient, TinkerError, stats, status
from tinker_client.connection.backend import Backend
from tinker_client.connection.backends import get_backend
from tinker_client.connection.in_process import InProcessHost
from tinker_client.connection.sidecar import SidecarHost
from tinker_client.local_server import LocalServer
from tinker_client.official.starting import Starter
from tinker_sidecar.ipc.protocol import CloseSampler

pytestmark = pytest.mark.in_all_hosts

in_a_sidecar = pytest.mark.parametrize("host", ["sidecar", "shared"], indirect=True)

UNUSED = 0.5
A_WHILE = 4.0
"""Seconds in which an engine that is not needed would long have ended."""

Open = Callable[[], ServiceClient]


@pytest.fixture(params=[*HOSTS])
def host(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    monkeypatch.setenv("TINKER_SUBPROCESS_SAMPLING", HOSTS[name])
    return name


@pytest.fixture
def open_service(host: str, sim_server: LocalServer) -> Open:
    return lambda: ServiceClient(base_url=sim_server.base_url, api_key="tml-tests")


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts as unused after half a second."""
    monkeypatch.setattr("tinker_client.connection.backend.UNUSED", UNUSED)


def sampling_client(service_client: ServiceClient) -> SamplingClient:
    return service_client.create_sampling_client(base_model=SIM)


def sample(client: SamplingClient) -> None:
    assert client.sample(prompt(1), 1, PARAMS).result(30)


def backend_of(host: str) -> Backend:
    return get_backend(sidecar={"in_process": False, "sidecar": True, "shared": "shared"}[host])


class Engine(NamedTuple):
    """One that runs: its process, which is this one for one in process, and its number in that."""

    pid: int
    generation: int | None
    is_in_process: bool

    def has_ended(self) -> bool:
        """Whether its thread has, or its process."""
        if self.is_in_process:
            return "tinker-in-process-engine" not in [thread.name for thread in threading.enumerate()]
        return has_ended(self.pid)


def engine(host: str) -> Engine:
    pid, is_in_process = stats(most_requests=0).process.pid, host == "in_process"
    assert (pid == os.getpid()) == is_in_process
    return Engine(pid, backend_of(host).generation, is_in_process)


def test_closed_for_half_a_minute_all_is_given_back(host: str, open_service: Open) -> None:
    before = belongings()
    with open_service() as service_client:
        clients = [sampling_client(service_client) for _ in range(20)]
        for future in [client.sample(prompt(1), 1, PARAMS) for client in clients]:
            future.result(30)
        first = engine(host)
    wait_until(first.has_ended)
    wait_until(lambda: not leaked(before))
    sample(sampling_client(open_service()))
    assert engine(host) != first


@pytest.mark.usefixtures("_soon")
def test_dropping_the_clients_does_as_well(host: str, open_service: Open) -> None:
    client = sampling_client(open_service())
    sample(client)
    first = engine(host)
    del client
    wait_until(first.has_ended)


@pytest.mark.usefixtures("_soon")
def test_closed_before_it_runs_it_ends_as_well(host: str, open_service: Open) -> None:
    async def main() -> None:
        open_service().close()

    asyncio.run(main())
    wait_until(lambda: backend_of(host).is_running)
    first = engine(host)
    wait_until(first.has_ended)


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize("what", ["session", "sampler"])
def test_one_with_something_open_stays(host: str, open_service: Open, what: str) -> None:
    service_client = open_service()
    kept = service_client if what == "session" else sampling_client(service_client)
    del service_client
    first = engine(host)
    time.sleep(A_WHILE)
    assert engine(host) == first
    assert kept


@pytest.mark.usefixtures("_soon")
def test_one_that_was_started_in_advance_stays(host: str) -> None:
    """As `install` does, while the program loads its models."""
    Starter(backend_of(host).where).begin()
    wait_until(lambda: backend_of(host).is_running)
    first = engine(host)
    time.sleep(A_WHILE)
    assert engine(host) == first


@pytest.mark.usefixtures("_soon")
def test_one_that_shows_itself_stays(host: str, open_service: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_SIDECAR_METRICS", "0")
    with open_service():
        first = engine(host)
    time.sleep(A_WHILE)
    assert engine(host) == first


@pytest.mark.usefixtures("_soon")
def test_what_went_through_it_is_still_told(host: str, open_service: Open) -> None:
    with open_service() as service_client:
        client = sampling_client(service_client)
        for _ in range(3):
            sample(client)
        first = stats()
    wait_until(lambda: not backend_of(host).is_running)
    assert "no sidecar is running" in status()
    ended = stats()
    assert ended.since_start.finished == first.since_start.finished == 3
    assert ended.since_start.completion_tokens == first.since_start.completion_tokens == 24
    assert ended.since_start.stages["server"].count == 3
    assert (ended.host, ended.restarts) == (first.host, first.restarts)
    assert (ended.silent_for, ended.uptime) == (0, 0)
    assert (ended.in_flight, ended.sessions, ended.samplers) == (0, [], [])
    with open_service() as service_client:
        client = sampling_client(service_client)
        sample(client)
        assert stats().since_start.finished == 4
        assert client.stats().since_start.finished == 1
    tinker_client.shutdown()
    assert stats().since_start.finished == 0


@pytest.mark.usefixtures("_soon")
def test_a_closed_client_does_not_come_to_life_with_the_next_sidecar(host: str, open_service: Open) -> None:
    with open_service() as service_client:
        client = sampling_client(service_client)
        sample(client)
        first = engine(host)
    wait_until(first.has_ended)
    with pytest.raises(TinkerError, match="closed"):
        sample(client)
    with pytest.raises(TinkerError, match="closed"):
        sampling_client(service_client)
    with pytest.raises(TinkerError, match="closed"):
        service_client.get_server_capabilities()
    assert client.session_id
    assert not backend_of(host).is_running


@pytest.mark.usefixtures("_soon")
def test_what_could_not_be_opened_keeps_none(host: str) -> None:
    async def open_in_vain() -> ServiceClient:
        service_client = ServiceClient(base_url="http://127.0.0.1:1", api_key="tml-tests")
        with pytest.raises(APIConnectionError):
            await service_client.get_server_capabilities_async()
        return service_client

    kept = asyncio.run(open_in_vain())
    first = engine(host)
    wait_until(first.has_ended)
    assert kept


@in_a_sidecar
@pytest.mark.usefixtures("_soon")
def test_one_whose_start_was_interrupted_ends(host: str) -> None:
    threading.Timer(0.05, signal.raise_signal, [signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        backend_of(host).start()
    wait_until(lambda: backend_of(host).is_running)
    first = engine(host)
    wait_until(first.has_ended)


def test_closed_while_it_opens_samplers(host: str, open_service: Open) -> None:
    """On an event loop, where opening takes no time; another thread closes."""

    async def open_many(service_client: ServiceClient, clients: list[SamplingClient]) -> None:
        while len(clients) < 300:
            clients.append(service_client.create_sampling_client(base_model=SIM))

    def open_and_close() -> None:
        clients: list[SamplingClient] = []
        service_client = open_service()
        opening = threading.Thread(target=asyncio.run, args=[open_many(service_client, clients)])
        opening.start()
        wait_until(lambda: len(clients) > 100)
        service_client.close()
        opening.join()
        for client in clients[-3:]:
            with pytest.raises(TinkerError, match="closed"):
                client.result(30)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(10):
            open_and_close()
    finally:
        sys.setswitchinterval(interval)
    wait_until(lambda: stats().sessions == [])
    assert not backend_of(host)._has_work()


@in_a_sidecar
def test_closed_or_dropped_before_the_sidecar_runs_it_is_not_open(host: str, open_service: Open) -> None:
    async def main() -> ServiceClient:
        closed, kept = open_service(), open_service()
        closed.close()
        dropped = open_service()
        del dropped
        assert not backend_of(host).is_running
        await kept.get_server_capabilities_async()
        return kept

    kept = asyncio.run(main())
    wait_until(lambda: len(stats().sessions) == 1)
    assert repr(kept).split()[1] == stats().sessions[0].session_id


@in_a_sidecar
def test_nor_with_one_that_replaces_a_dead_one(host: str, open_service: Open) -> None:
    with open_service() as service_client:
        client = sampling_client(service_client)
        sample(client)
    other = open_service()
    first = psutil.Process(engine(host).pid)
    first.kill()
    sample(sampling_client(other))
    with pytest.raises(TinkerError, match="closed"):
        sample(client)
    assert len(stats().sessions) == 1


@pytest.fixture
def _looks_by_the_test_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts as unused at once, and only `look` of this file looks whether it is."""
    monkeypatch.setattr("tinker_client.connection.backend.UNUSED", 0.0)
    for module in ("channel", "in_process"):
        monkeypatch.setattr(f"tinker_client.connection.{module}._LOOK_EVERY", 1e9)


def look(backend: Backend) -> None:
    host = backend._host
    if isinstance(host, SidecarHost):
        host._end_if_unused()
    elif isinstance(host, InProcessHost):
        with suppress(RuntimeError):  # Its loop has just been closed.
            host._loop.call_soon_threadsafe(host._end_if_unused)


@pytest.mark.usefixtures("_looks_by_the_test_alone")
def test_what_is_opened_just_when_it_has_ended_is_opened(
    host: str, open_service: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = backend_of(host)
    start = backend.start

    def start_and_end() -> None:
        start()
        wait_until(lambda: look(backend) or not backend.is_running)

    with open_service():
        monkeypatch.setattr(backend, "start", start_and_end)
    service_client = open_service()
    monkeypatch.setattr(backend, "start", start)
    sample(sampling_client(service_client))


@pytest.mark.usefixtures("_looks_by_the_test_alone")
def test_what_is_opened_while_it_ends_is_opened(host: str, open_service: Open) -> None:
    backend = backend_of(host)
    generations: set[int | None] = set()
    """Of the sidecars that there were."""
    over = threading.Event()

    def look_again_and_again() -> None:
        while not over.wait(0.001):
            generations.add(backend.generation)
            look(backend)

    def use(number: int) -> None:
        pauses, deadline = random.Random(number), time.monotonic() + PATIENCE
        while len(generations) < 8:
            assert time.monotonic() < deadline
            with open_service() as service_client:
                sample(sampling_client(service_client))
            time.sleep(pauses.uniform(0, 0.02))

    looking = threading.Thread(target=look_again_and_again)
    looking.start()
    try:
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(use, range(3)))
    finally:
        over.set()
        looking.join()


@in_a_sidecar
def test_the_garbage_collector_lets_go_where_a_sidecar_is_being_started(
    host: str, open_service: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may run anywhere, such as in the first steps of the thread that starts it, for which others wait."""
    backend = backend_of(host)
    begin = threading.Thread._set_ident  # type: ignore[attr-defined]  # What a new thread does first.

    def begin_with_garbage(thread: threading.Thread) -> None:
        begin(thread)
        if thread.name == "tinker-sidecar-start":
            backend.send(CloseSampler(1))

    monkeypatch.setattr(threading.Thread, "_set_ident", begin_with_garbage)
    sample(sampling_client(open_service()))
