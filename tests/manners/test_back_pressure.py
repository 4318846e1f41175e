"""How much a client has on its way at once, from the server's own log of requests."""

from __future__ import annotations

import asyncio

from tests.connection import PARAMS, Connect, Connection, assert_right, flag, option, prompt
from tinker_client import types

SLOW_TO_TAKE = option("fault", "asample:delay,seconds=0.2")


def test_400_dispatches_at_once(connect: Connect) -> None:
    """As many as a server far away needs to be kept busy."""
    connection = connect(*SLOW_TO_TAKE, *option("fault", "retrieve_future:delay,seconds=0.2"))
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
