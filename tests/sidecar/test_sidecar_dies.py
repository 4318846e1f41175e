"""A sidecar that dies is replaced, and what was unanswered is asked again; up to a limit."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

import tinker_client
from tests.client.journal import newest_session
from tests.waiting import wait_until
from tinker_client import ServiceClient, SidecarDiedError, SidecarStartupError, types
from tinker_client.connection.backends import get_backend
from tinker_client.local_server import LocalServer, start_local_server
from tinker_sidecar.local_server.engines.sim import expected_tokens

MODEL = "tinker-sidecar/sim"
PROMPT = types.ModelInput.from_ints([5, 6, 7])
PARAMS = types.SamplingParams(max_tokens=4)
SEEDED = types.SamplingParams(max_tokens=4, seed=1)

Sidecars = Callable[[], list[psutil.Process]]


def tokens(number: int) -> list[int]:
    return expected_tokens([number], 1, 0, 4)


def test_nothing_is_lost_and_nothing_asked_twice(sidecars: Sidecars) -> None:
    with (
        closing(start_local_server("sim", "--latency", "0.5")) as server,
        ServiceClient(base_url=server.base_url, api_key="tml-tests") as service_client,
    ):
        sampling_client = service_client.create_sampling_client(base_model=MODEL)
        prompts = [types.ModelInput.from_ints([number]) for number in range(1, 301)]
        futures = [sampling_client.sample(prompt, 1, SEEDED) for prompt in prompts]
        futures[0].result(30)  # Some are answered, some asked, some not even sent.
        [first] = sidecars()
        first.send_signal(signal.SIGKILL)

        assert [future.result(30).sequences[0].tokens for future in futures] == [
            tokens(number) for number in range(1, 301)
        ]
        [second] = sidecars()
        assert second.pid != first.pid
        session = newest_session(server)
        assert len(session["submitted"]) == 300  # As many `seq_id`s as requests: none was asked anew.


def test_awaiting_tasks_notice_nothing(sidecars: Sidecars, sim_server: LocalServer) -> None:
    async def main() -> list[types.SampleResponse]:
        service_client = ServiceClient(base_url=sim_server.base_url, api_key="tml-tests")
        sampling_client = await service_client.create_sampling_client(base_model=MODEL)
        sidecars()[0].send_signal(signal.SIGSTOP)  # So that no answer comes first.
        prompts = [types.ModelInput.from_ints([number]) for number in range(1, 21)]
        tasks = [asyncio.create_task(sampling_client.sample_async(prompt, 1, SEEDED)) for prompt in prompts]
        await asyncio.sleep(0.1)
        sidecars()[0].send_signal(signal.SIGKILL)
        return await asyncio.gather(*tasks)

    results = asyncio.run(main())
    assert [result.sequences[0].tokens for result in results] == [tokens(n) for n in range(1, 21)]


def test_what_is_being_opened_is_opened_after_all(sidecars: Sidecars, sim_server: LocalServer) -> None:
    async def main() -> list[int]:
        service_client = ServiceClient(base_url=sim_server.base_url, api_key="tml-tests")
        await service_client.get_server_capabilities_async()
        sidecars()[0].send_signal(signal.SIGSTOP)
        sampling_client = service_client.create_sampling_client(base_model=MODEL)
        task = asyncio.create_task(sampling_client.sample_async(PROMPT, 1, SEEDED))
        await asyncio.sleep(0.1)
        sidecars()[0].send_signal(signal.SIGKILL)
        return (await task).sequences[0].tokens

    assert asyncio.run(main()) == expected_tokens([5, 6, 7], 1, 0, 4)


def test_an_idle_session_goes_on_beating(sidecars: Sidecars, sim_server: LocalServer) -> None:
    with ServiceClient(base_url=sim_server.base_url, api_key="tml-tests") as service_client:
        service_client.create_sampling_client(base_model=MODEL)
        beats = len(newest_session(sim_server)["heartbeats"])
        sidecars()[0].send_signal(signal.SIGKILL)
        wait_until(lambda: len(newest_session(sim_server)["heartbeats"]) > beats)


def test_one_that_keeps_dying_is_given_up(
    sidecars: Sidecars, sim_server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ServiceClient(base_url=sim_server.base_url, api_key="tml-tests") as service_client:
        sampling_client = service_client.create_sampling_client(base_model=MODEL)
        sidecars()[0].send_signal(signal.SIGSTOP)
        futures = [sampling_client.sample(PROMPT, 1, PARAMS) for _ in range(20)]
        (tmp_path / "zmq").mkdir()
        (tmp_path / "zmq" / "__init__.py").write_text("raise ImportError('libzmq is broken now')")
        monkeypatch.syspath_prepend(tmp_path)
        sidecars()[0].send_signal(signal.SIGKILL)

        for future in futures:
            with pytest.raises(SidecarDiedError, match=r"(?s)libzmq is broken now.*within a minute"):
                future.result(30)
        with pytest.raises(SidecarDiedError, match="within a minute"):
            sampling_client.sample(PROMPT, 1, PARAMS)
        assert sidecars() == []


def test_one_sidecar_serves_all_clients(sidecars: Sidecars, sim_server: LocalServer) -> None:
    clients = [ServiceClient(base_url=sim_server.base_url, api_key="tml-tests") for _ in range(3)]
    samplers = [client.create_sampling_client(base_model=MODEL) for client in clients for _ in range(2)]

    assert all(sampler.sample(PROMPT, 1, PARAMS).result(30) for sampler in samplers)
    assert len(sidecars()) == 1


def test_an_early_death_is_reported_with_the_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "zmq").mkdir()
    (tmp_path / "zmq" / "__init__.py").write_text("raise ImportError('libzmq is broken here')")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(SidecarStartupError, match="could not start: ImportError: libzmq is broken here"):
        ServiceClient(base_url="http://127.0.0.1:9", api_key="tml-tests")


def test_an_interpreter_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    with pytest.raises(SidecarStartupError, match="cannot start '/nowhere/python'"):
        ServiceClient(base_url="http://127.0.0.1:9", api_key="tml-tests")


def test_the_key_is_nowhere_others_can_look(
    sidecars: Sidecars, sim_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINKER_API_KEY", "tml-very-secret")
    service_client = ServiceClient(base_url=sim_server.base_url)
    [sidecar] = sidecars()

    assert "very-secret" not in " ".join(sidecar.cmdline())
    assert "very-secret" not in str(sidecar.environ())
    assert "very-secret" not in repr(service_client)


def test_shutdown_finds_a_sidecar_that_an_old_client_started(
    sidecars: Sidecars, sim_server: LocalServer
) -> None:
    service_client = ServiceClient(base_url=sim_server.base_url, api_key="tml-tests")
    sampling_client = service_client.create_sampling_client(base_model=MODEL)
    tinker_client.shutdown()
    assert sampling_client.sample(PROMPT, 1, PARAMS).result(30).sequences[0].tokens
    assert len(sidecars()) == 1
    tinker_client.shutdown()

    assert sidecars() == []


def test_many_threads_start_it_anew_at_once(sidecars: Sidecars, sim_server: LocalServer) -> None:
    service_client = ServiceClient(base_url=sim_server.base_url, api_key="tml-tests")
    sampling_client = service_client.create_sampling_client(base_model=MODEL)
    for _ in range(5):
        tinker_client.shutdown()
        with ThreadPoolExecutor(16) as pool:
            futures = list(pool.map(lambda _: sampling_client.sample(PROMPT, 1, PARAMS), range(64)))
        assert all(future.result(30).sequences[0].tokens for future in futures)
        assert len(sidecars()) == 1


def test_a_receiving_thread_that_fails_is_told_and_replaced(
    sidecars: Sidecars, sim_server: LocalServer, caplog: pytest.LogCaptureFixture
) -> None:
    """As when a program closes descriptors that are not its own."""
    with ServiceClient(base_url=sim_server.base_url, api_key="tml-tests") as service_client:
        sampling_client = service_client.create_sampling_client(base_model=MODEL)
        [first] = sidecars()
        host: Any = get_backend(sidecar=True)._host
        host._channel._doorbell.close()
        wait_until(lambda: first not in sidecars())
        assert sampling_client.sample(PROMPT, 1, SEEDED).result(30).sequences[0].tokens
        wait_until(lambda: "the thread that receives results failed" in caplog.text)
