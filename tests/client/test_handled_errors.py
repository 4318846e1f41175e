"""An error that has been handled is gone, and with it the caller's variables that its traceback holds.

Nothing is left for the garbage collector, which a program with much to keep may run rarely, or never.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Iterator

import pytest
import trio

from tests.waiting import wait_until
from tinker_client import SamplingClient, ServiceClient, TinkerError, types

PARAMS = types.SamplingParams(max_tokens=4)
TOO_LONG = types.ModelInput.from_ints([1] * 200_000)

CALLS: dict[str, Callable[[SamplingClient], object]] = {
    "result": lambda client: client.sample(TOO_LONG, 1, PARAMS).result(30),
    "result of logprobs": lambda client: client.compute_logprobs(TOO_LONG).result(30),
    "bad argument": lambda client: client.sample(TOO_LONG, 0, PARAMS),
}
AWAITABLES: dict[str, Callable[[SamplingClient], Awaitable[object]]] = {
    "await": lambda client: client.sample(TOO_LONG, 1, PARAMS),
    "await logprobs": lambda client: client.compute_logprobs(TOO_LONG),
    "result_async": lambda client: client.sample(TOO_LONG, 1, PARAMS).result_async(30),
    "result_async without end": lambda client: client.sample(TOO_LONG, 1, PARAMS).result_async(),
    "sample_async": lambda client: client.sample_async(TOO_LONG, 1, PARAMS),
    "compute_logprobs_async": lambda client: client.compute_logprobs_async(TOO_LONG),
}


class Rollouts:
    """What a caller has in a variable."""


@pytest.fixture(autouse=True)
def _no_garbage_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_raised_in_a_thread(client: SamplingClient, call: Callable[[SamplingClient], object]) -> None:
    assert_nothing_is_kept(lambda: call(client))


def test_raised_where_a_client_is_made(host: str, service_client: ServiceClient) -> None:
    assert_nothing_is_kept(lambda: service_client.create_sampling_client(base_model="none"))
    assert_nothing_is_kept(lambda: ServiceClient(base_url="http://127.0.0.1:1", api_key="tml-tests"))


def assert_nothing_is_kept(act: Callable[[], object]) -> None:
    def fail() -> weakref.ref[Rollouts]:
        rollouts = Rollouts()
        try:
            act()
        except (TinkerError, ValueError):
            return weakref.ref(rollouts)
        raise AssertionError("no error")

    rollouts = fail()
    wait_until(lambda: rollouts() is None)


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
@pytest.mark.parametrize("call", AWAITABLES.values(), ids=AWAITABLES)
def test_raised_in_a_task(
    client: SamplingClient, call: Callable[[SamplingClient], Awaitable[object]], loop: str
) -> None:
    assert_nothing_is_kept_in_a_task(lambda: call(client), loop)


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
@pytest.mark.parametrize("bounded", [False, True])
def test_raised_in_a_task_where_a_client_is_made(
    host: str, service_client: ServiceClient, loop: str, bounded: bool
) -> None:
    async def make() -> None:
        if bounded:
            await service_client.create_sampling_client(base_model="none").result_async(30)
        else:
            await service_client.create_sampling_client_async(base_model="none")

    assert_nothing_is_kept_in_a_task(make, loop)


def assert_nothing_is_kept_in_a_task(act: Callable[[], Awaitable[object]], loop: str) -> None:
    async def fail() -> weakref.ref[Rollouts]:
        rollouts = Rollouts()
        try:
            await act()
        except TinkerError:
            return weakref.ref(rollouts)
        raise AssertionError("no error")

    rollouts = asyncio.run(fail()) if loop == "asyncio" else trio.run(fail)
    wait_until(lambda: rollouts() is None)
