"""What the server sees of a client that it asks to slow down, from its own log of requests."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from tests.connection import PARAMS, Connect, Connection, assert_right, flag, option, prompt
from tests.local_server.api import SIM
from tests.waiting import wait_until
from tinker_client import ServiceClient, types

SLOW_TO_TAKE = option("fault", "asample:delay,seconds=0.2")
LARGE_PROMPT = list(range(10_000, 11_000)) * 24  # 144 KB of JSON: from 128 KiB on, pauses are longer.


def after_last_pause(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The requests that came after the last half a second in which none did."""
    pauses = [
        index + 1
        for index, (earlier, later) in enumerate(pairwise(requests))
        if later["came"] - earlier["came"] > 0.5
    ]
    assert pauses, "nobody waited"
    return requests[pauses[-1] :]


def most_at_once(requests: list[dict[str, Any]]) -> int:
    edges = [(request["came"], 1) for request in requests] + [
        (request["answered"], -1) for request in requests
    ]
    most = now = 0
    for _, change in sorted(edges):
        now += change
        most = max(most, now)
    return most


def test_400_dispatches_at_once(connect: Connect) -> None:
    connection = connect(*SLOW_TO_TAKE)
    connection.check_samples(900)
    assert 200 < connection.log["most_at_once"]["asample"] <= 400


def test_so_many_prompt_bytes_at_once(connect: Connect) -> None:
    connection = connect(*SLOW_TO_TAKE, *flag("sample_dispatch_bytes_semaphore_size", 20_000))
    client = connection.sampling_client()
    text = types.ModelInput.from_ints(list(range(10_000, 11_000)))  # 6 KB of JSON.
    futures = [client.sample(text, 1, PARAMS) for _ in range(10)]
    assert all(future.result(30).sequences for future in futures)
    assert 6_000 < connection.log["most_bytes_at_once"]["asample"] <= 20_000


def test_a_prompt_larger_than_the_budget_goes_alone(connect: Connect) -> None:
    connection = connect(*SLOW_TO_TAKE, *flag("sample_dispatch_bytes_semaphore_size", 1_000))
    client = connection.sampling_client()
    text = types.ModelInput.from_ints(list(range(10_000, 11_000)))
    futures = [client.sample(text, 1, PARAMS) for _ in range(3)]
    assert all(future.result(30).sequences for future in futures)
    assert connection.log["most_at_once"]["asample"] == 1


@pytest.mark.parametrize("refused", [1, 30])
def test_a_429_pauses_all_and_makes_careful(connect: Connect, refused: int) -> None:
    """Nobody sends for a second; then at most 10 at once, those that were refused included."""
    connection = connect(*option("fault", f"asample:429,first={refused}", "asample:delay,seconds=0.03"))
    connection.check_samples(60)
    connection.check_samples(60)
    requests = connection.requests("asample")
    assert sorted(request["status"] for request in requests) == [200] * 120 + [429] * refused
    # The second begins at the client, and what is on its way comes in yet.
    after = after_last_pause(requests)
    assert {request["status"] for request in after} == {200}
    assert most_at_once(after) <= 10


def test_while_careful_each_byte_counts_twenty_fold(connect: Connect) -> None:
    """Bodies of about 6 KB count 120 KB: two at once fit in 300 KB, where ten could go by number."""
    connection = connect(
        *option("fault", "asample:429,first=1", "asample:delay,seconds=0.05"),
        *flag("sample_dispatch_bytes_semaphore_size", 300_000),
    )
    client = connection.sampling_client()
    assert client.sample(prompt(0), 1, PARAMS).result(30).sequences
    text = types.ModelInput.from_ints(list(range(10_000, 11_000)))
    futures = [client.sample(text, 1, PARAMS) for _ in range(20)]
    assert all(future.result(30).sequences for future in futures)
    assert connection.log["most_at_once"]["asample"] == 2


def test_a_429_for_a_large_prompt_pauses_longer(connect: Connect) -> None:
    """Each session has its own pause: one is over while the other lasts, though that began first."""
    connection = connect(*option("fault", "asample:429,first=2"))
    with ServiceClient(base_url=connection.base_url, api_key="tml-tests") as other_session:
        other = other_session.create_sampling_client(base_model=SIM)
        large = connection.sampling_client().sample(types.ModelInput.from_ints(LARGE_PROMPT), 1, PARAMS)
        wait_until(lambda: len(connection.requests("asample")) == 1)
        small = other.sample(prompt(1), 1, PARAMS)
        assert small.result(30).sequences
        assert not large.done()
        assert large.result(30).sequences
    assert [request["status"] for request in connection.requests("asample")] == [429, 429, 200, 200]


def test_other_refusals_do_not_make_careful(connect: Connect) -> None:
    connection = connect(*option("fault", "asample:503,first=3", "asample:delay,seconds=0.2"))
    connection.check_samples(1)
    connection.check_samples(60)
    assert connection.log["most_at_once"]["asample"] > 10


def test_polls_in_flight(connect: Connect) -> None:
    """Each request holds a connection: the server says how many it has."""
    connection = connect(
        "--latency=0.1",
        *flag("sample_use_retrieve_futures", False),
        *flag("sample_max_concurrent_requests", 5),
    )
    connection.check_samples(40)
    assert 2 <= connection.log["most_at_once"]["retrieve_future"] <= 5


def test_response_bytes_in_flight(connect: Connect) -> None:
    """Each result has some 550 bytes, of which the budget holds three."""
    connection = large_results(connect, 2_000, "true", "retrieve_future:delay,seconds=0.05")
    assert 2 <= connection.log["most_at_once"]["retrieve_future"] <= 3


def test_results_announced_by_their_size_are_asked_for_again(connect: Connect) -> None:
    connection = large_results(connect, 2_000, "false", "healthz:500")
    assert len(connection.requests("retrieve_future")) == 2 * 24


def test_a_result_larger_than_the_budget_comes_alone(connect: Connect) -> None:
    connection = large_results(connect, 100, "true", "retrieve_future:delay,seconds=0.02")
    assert connection.log["most_at_once"]["retrieve_future"] == 1


def large_results(connect: Connect, budget: int, use_retrieve_futures: str, fault: str) -> Connection:
    connection = connect(
        "--inline-result-bytes=100",
        *option("fault", fault),
        *flag("inflight_response_bytes_semaphore_size", budget),
        *flag("sample_use_retrieve_futures", use_retrieve_futures),
    )
    client = connection.sampling_client()
    params = types.SamplingParams(max_tokens=64)
    futures = [client.sample(prompt(number), 1, params) for number in range(24)]
    assert all(len(future.result(30).sequences[0].tokens) == 64 for future in futures)
    return connection


def test_requests_that_wait_their_turn_can_be_cancelled(connect: Connect) -> None:
    """Nothing of the budgets is lost with them."""
    connection = connect(*SLOW_TO_TAKE, *flag("sample_dispatch_bytes_semaphore_size", 1_000))
    client = connection.sampling_client()
    text = types.ModelInput.from_ints(list(range(10_000, 11_000)))

    async def give_up() -> None:
        tasks = [asyncio.create_task(client.sample_async(text, 1, PARAMS)) for _ in range(20)]
        await asyncio.sleep(0.5)
        assert connection.log["most_at_once"]["asample"] == 1
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(give_up())
    for number in range(3):
        assert_right(number, client.sample(prompt(number), 2, PARAMS))


def test_what_is_cancelled_on_its_way_waits_for_the_pause_too(connect: Connect) -> None:
    """It is sent once more, to learn what to cancel."""
    connection = connect(*option("fault", "asample:429,first=1", "asample:delay,seconds=1"))
    client = connection.sampling_client()

    async def give_up() -> None:
        tasks = [asyncio.create_task(client.sample_async(prompt(0), 1, PARAMS)) for _ in range(2)]
        await asyncio.sleep(0.5)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(give_up())
    wait_until(lambda: connection.requests("cancel_future"))
    came = [request["came"] for request in connection.requests("asample")]
    assert len(came) == 3
    assert came[2] - came[0] > 0.9
