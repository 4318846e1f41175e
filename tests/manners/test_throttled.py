"""A server that takes only so much: nothing is lost, little is refused, and nobody is pestered."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tests.connection import (
    PARAMS,
    Connect,
    Connection,
    assert_right,
    flag,
    option,
    prompt,
)
from tests.local_server.api import SIM, Api
from tests.waiting import wait_until
from tinker_client import APIConnectionError, RetryConfig, ServiceClient

AT_FIRST = 400
"""As many may be on their way to a distant server when it refuses the first; a busy machine is distant."""
POLLS = {"a poll for each": flag("sample_use_retrieve_futures", False), "one poll for all": []}


def refused(connection: Connection) -> list[dict[str, Any]]:
    return [request for request in connection.requests("asample") if request["status"] == 429]


def replace_limits(connection: Connection, **limits: object) -> None:
    assert Api(connection.base_url).post("/local/limits", limits).status == 200


@pytest.mark.parametrize("polls", POLLS.values(), ids=POLLS)
def test_a_server_with_few_slots(connect: Connect, polls: list[str]) -> None:
    connection = connect("--slots=8", "--latency=0.05", *polls)
    connection.check_samples(300)
    assert 1 <= len(refused(connection)) <= AT_FIRST + 0.1 * 300


def test_a_server_that_takes_so_many_a_second(connect: Connect) -> None:
    connection = connect("--rate=100", "--burst=20", "--latency=0.05")
    connection.check_samples(300)
    assert 1 <= len(refused(connection)) <= AT_FIRST + 0.2 * 300


def test_refusals_at_random(connect: Connect) -> None:
    connection = connect(*option("fault", "asample:429@0.2"))
    connection.check_samples(300)
    assert len(connection.requests("asample")) == 300 + len(refused(connection))


def test_sessions_with_one_key_share_what_they_found_out(connect: Connect) -> None:
    connection = connect("--slots=8", "--latency=0.05")
    connection.check_samples(100)
    found_out = len(refused(connection))
    with ServiceClient(base_url=connection.base_url, api_key="tml-tests") as other_session:
        client = other_session.create_sampling_client(base_model=SIM)
        futures = {number: client.sample(prompt(number), 2, PARAMS) for number in range(100)}
        for number, future in futures.items():
            assert_right(number, future)
    assert len(refused(connection)) - found_out <= 0.3 * 100


def test_what_waits_for_room_can_be_cancelled(connect: Connect) -> None:
    """It never reaches the server, and what comes after it does."""
    connection = connect("--slots=1", "--latency=0.3")
    client = connection.sampling_client()

    async def give_up() -> None:
        tasks = [asyncio.create_task(client.sample_async(prompt(0), 1, PARAMS)) for _ in range(30)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(give_up())
    for number in range(2):
        assert_right(number, client.sample(prompt(number), 2, PARAMS))
    assert connection.submitted < 15


@pytest.mark.parametrize("detection", ["true", "false"])
def test_a_server_that_refuses_for_ever(connect_in: Connect, host: str, detection: str) -> None:
    """It is asked once a second after the first few times, and then the requests fail and say why."""
    connection = connect_in(
        host,
        "--slots=0",
        *flag("sample_enable_stuck_detection", detection),
        retry_config=RetryConfig(progress_timeout=6),
    )
    client = connection.sampling_client()
    futures = [client.sample(prompt(number), 1, PARAMS) for number in range(100)]
    for future in futures:
        with pytest.raises(APIConnectionError, match=r"429 \(too many requests\) to all for \d+ s"):
            future.result(30)
    came = [request["came"] for request in refused(connection)]
    later = [time for time in came if time > came[0] + 3]
    assert 1 <= len(later) <= later[-1] - came[0] - 3 + 1


def test_it_may_recover(connect: Connect) -> None:
    connection = connect("--slots=0")
    client = connection.sampling_client()
    futures = {number: client.sample(prompt(number), 2, PARAMS) for number in range(50)}
    wait_until(lambda: len(refused(connection)) >= 3)
    replace_limits(connection, slots=10)
    for number, future in futures.items():
        assert_right(number, future)


def test_retry_after_is_obeyed(connect: Connect) -> None:
    """Though the server would take it earlier."""
    connection = connect("--slots=0", "--retry-after=3")
    future = connection.sampling_client().sample(prompt(1), 2, PARAMS)
    wait_until(lambda: refused(connection))
    replace_limits(connection, slots=10)
    assert_right(1, future)
    first, second = connection.requests("asample")
    assert second["came"] - first["answered"] >= 3


@pytest.mark.parametrize("header", ["soon", "-5", "nan", "Thu, 99 Foo 2026 00:00:00 GMT"])
def test_a_retry_after_of_nonsense_counts_for_nothing(
    connect: Connect, caplog: pytest.LogCaptureFixture, header: str
) -> None:
    connection = connect("--slots=0", f"--retry-after={header}")
    future = connection.sampling_client().sample(prompt(1), 2, PARAMS)
    wait_until(lambda: len(refused(connection)) >= 3)
    replace_limits(connection, slots=10)
    assert_right(1, future)
    wait_until(lambda: [record for record in caplog.records if "Retry-After" in record.getMessage()])
    [record] = [record for record in caplog.records if "Retry-After" in record.getMessage()]
    assert record.levelno == logging.WARNING
    assert repr(header) in record.getMessage()


def test_a_retry_after_of_a_year_is_cut_short(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    connection = connect("--slots=0", f"--retry-after={365 * 24 * 3600}")
    future = connection.sampling_client().sample(prompt(1), 2, PARAMS)
    wait_until(lambda: [record for record in caplog.records if "waiting 300 s" in record.getMessage()])
    assert future.cancel()


def test_the_limit_that_was_found_is_told(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    connection = connect("--slots=8", "--latency=0.05")
    connection.check_samples(100)
    wait_until(lambda: [record for record in caplog.records if "no more than about" in record.getMessage()])
