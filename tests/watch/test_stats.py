"""`tinker_client.stats()`: what has happened, what is under way, and where the time went."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter

import msgspec
import psutil
import pytest

import tinker_client
from tests.connection import Connect, Connection, flag, option, prompt
from tests.waiting import wait_until
from tinker_client import SamplingParams, Stats, TinkerError
from tinker_sidecar.ipc.stats import STAGES

PARAMS = SamplingParams(max_tokens=7)
"""Seven tokens come back."""

POLLS = {"a poll for each": flag("sample_use_retrieve_futures", False), "one poll for all": []}


def sample(connection: Connection, count: int) -> None:
    client = connection.sampling_client()
    for future in [client.sample(prompt(number), 2, PARAMS) for number in range(count)]:
        future.result(60)


def settled() -> Stats:
    """When the engine has heard that all results have been taken."""
    wait_until(lambda: tinker_client.stats().in_flight == 0, show=tinker_client.stats)
    return tinker_client.stats()


@pytest.mark.parametrize("polls", POLLS.values(), ids=POLLS)
def test_finished_requests_are_counted(connect: Connect, polls: list[str]) -> None:
    connection = connect("--latency=0.05", *polls)
    sample(connection, 20)
    stats = settled()
    for traffic in (stats.since_start, stats.last_60s):
        assert (traffic.submitted, traffic.finished, traffic.failed, traffic.cancelled) == (20, 20, {}, 0)
        assert traffic.completion_tokens == 20 * 2 * 7
        assert traffic.prompt_tokens == sum(prompt(number).length for number in range(20))
        assert traffic.sent_bytes > 0
        assert traffic.received_bytes > 0
        assert traffic.batches >= 1
        assert set(traffic.stages) == set(STAGES)
        assert all(stage.count == 20 for stage in traffic.stages.values())
        assert traffic.stages["server"].p50 > 0.03


def test_it_is_json_and_comes_back(connect: Connect) -> None:
    sample(connect(), 3)
    stats = settled()
    assert msgspec.json.decode(msgspec.json.encode(stats), type=Stats) == stats
    assert json.loads(json.dumps(stats.to_dict()))["since_start"]["finished"] == 3


def test_it_says_where_it_runs(connect: Connect, host: str) -> None:
    sample(connect(), 1)
    stats = tinker_client.stats()
    assert stats.program == os.getpid()
    assert stats.host == {"in_process": "in process", "shared": "shared sidecar"}.get(host, host)
    assert (stats.process.pid == os.getpid()) == (host == "in_process")
    assert stats.process.rss_bytes > 1 << 20
    assert stats.process.threads >= 1
    (session,) = stats.sessions
    # In a shared one fewer are open, so that a program that asks for little waits behind fewer of others.
    assert session.limits["submissions"].limit == (24 if host == "shared" else 128)
    assert session.limits["server"].limit is None


def test_without_an_engine_there_is_nothing_to_tell() -> None:
    stats = tinker_client.stats()
    assert (stats.in_flight, stats.since_start.submitted, stats.silent_for) == (0, 0, 0)
    assert stats.sessions == []


def test_what_is_pending_is_listed_oldest_first(connect: Connect) -> None:
    connection = connect("--latency=30")
    client = connection.sampling_client()
    futures = [client.sample(prompt(number), 1, PARAMS) for number in range(5)]
    wait_until(lambda: tinker_client.stats().in_flight_by_stage["server"] == 5, show=tinker_client.stats)
    stats = tinker_client.stats()
    requests = stats.requests()
    assert [request.prompt_tokens for request in requests] == [prompt(number).length for number in range(5)]
    assert [request.age for request in requests] == sorted(
        (request.age for request in requests), reverse=True
    )
    assert {request.sampling_session_id for request in requests} == {client.sampling_session_id}
    assert [request.request_id for request in requests] == [future.request_id for future in futures]
    assert stats.oldest >= requests[0].age > 0
    assert len(tinker_client.stats(most_requests=2).requests()) == 2
    for future in futures:
        future.cancel()
    stats = settled()
    assert stats.since_start.cancelled == 5


def test_a_sampler_tells_of_itself_alone(connect: Connect) -> None:
    connection = connect()
    first, second = connection.sampling_client(), connection.sampling_client()
    for future in [first.sample(prompt(0), 1, PARAMS) for _ in range(3)]:
        future.result(60)
    second.sample(prompt(0), 1, PARAMS).result(60)
    settled()
    assert first.stats().since_start.finished == 3
    assert second.stats().since_start.finished == 1
    assert [it.sampling_session_id for it in first.stats().samplers] == [first.sampling_session_id]
    assert tinker_client.stats().since_start.finished == 4
    assert first.session_id == second.session_id == tinker_client.stats().sessions[0].session_id


def test_failures_are_counted_by_class(connect: Connect) -> None:
    connection = connect(*option("fault", "asample:422,first=3"))
    client = connection.sampling_client()
    errors: Counter[str] = Counter()
    for future in [client.sample(prompt(number), 1, PARAMS) for number in range(5)]:
        try:
            future.result(60)
        except TinkerError as error:
            errors[type(error).__name__] += 1
    assert settled().since_start.failed == errors


@pytest.mark.parametrize(
    ("fault", "cause"),
    [("asample:429@0.3", "429"), ("asample:503,first=3", "5xx"), ("asample:empty,first=2", "malformed")],
)
def test_retries_are_counted_by_cause(connect: Connect, fault: str, cause: str) -> None:
    sample(connect(*option("fault", fault)), 20)
    stats = settled()
    assert stats.since_start.retried[cause] >= 2
    assert set(stats.since_start.retried) == {cause}


def test_futures_know_their_request(connect: Connect) -> None:
    connection = connect()
    client = connection.sampling_client()
    future = client.sample(prompt(0), 1, PARAMS)
    future.result(60)
    assert future.request_id is not None
    assert future.request_id.startswith(client.sampling_session_id)
    assert future.submitted_at is not None


def test_it_can_be_asked_on_an_event_loop(connect: Connect) -> None:
    client = connect("--latency=0.2").sampling_client()

    async def main() -> int:
        task = asyncio.create_task(client.sample_async(prompt(0), 1, PARAMS))
        await asyncio.sleep(0.1)
        in_flight = tinker_client.stats().in_flight
        await task
        return in_flight

    assert asyncio.run(main()) == 1


def test_a_stopped_sidecar_is_told(connect_in: Connect) -> None:
    connect_in("sidecar")
    pid = tinker_client.stats().process.pid
    psutil.Process(pid).suspend()
    try:
        stats = tinker_client.stats()
        assert stats.silent_for >= 2
        assert stats.process.pid == pid
        assert "does not answer since" in tinker_client.status()
    finally:
        psutil.Process(pid).resume()
    assert tinker_client.stats().silent_for == 0


def test_a_sidecar_that_was_stopped_blames_nobody(
    connect_in: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """What it had for the program meanwhile was not there to be taken."""
    client = connect_in("sidecar", "--latency=0.5").sampling_client()
    process = psutil.Process(tinker_client.stats().process.pid)
    client.sample(prompt(1), 1, PARAMS).result(60)
    futures = [client.sample(prompt(number), 1, PARAMS) for number in range(8)]
    process.suspend()
    time.sleep(3)
    process.resume()
    for future in futures:
        future.result(60)
    time.sleep(1)
    stats = settled()
    assert stats.since_start.starved * stats.since_start.seconds < 1
    assert "results waited" not in caplog.text


def test_what_is_said_while_a_dead_sidecar_is_replaced(connect_in: Connect) -> None:
    connection = connect_in("sidecar", "--latency=0.5")
    client = connection.sampling_client()
    futures = [client.sample(prompt(number), 1, PARAMS) for number in range(8)]
    dead = tinker_client.stats().process.pid
    psutil.Process(dead).kill()
    said = set()
    while tinker_client.stats().process.pid == dead or not all(future.done() for future in futures):
        said.add(tinker_client.status())
    assert not [line for line in said if "has not sampled" in line or "no sidecar is running" in line]
    for future in futures:
        future.result(60)


def test_restarts_are_counted(connect_in: Connect) -> None:
    connection = connect_in("sidecar")
    before = tinker_client.stats()
    psutil.Process(before.process.pid).kill()
    sample(connection, 2)
    stats = settled()
    assert stats.restarts == before.restarts + 1
    assert stats.since_start.finished == 2
