"""How much a server takes is found out by asking, in virtual time against servers that throttle.

The servers here are models of what the local server does; tests/manners/test_throttled.py has the real one.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.engine.virtual_time import run
from tinker_sidecar.engine.capacity import Capacity

ROUND_TRIP = 0.004
"""Seconds until the server has a request, or its answer is back: half of that each."""


@dataclass
class Server:
    """Takes a request or refuses it, as `admits` says, and works on it for `seconds`."""

    seconds: float
    admits: Callable[[Server], bool]
    pending: int = 0
    refusals: list[float] = field(default_factory=list)
    results: list[float] = field(default_factory=list)
    retry_after: float | None = None

    async def ask(self) -> asyncio.Future[None] | None:
        """A promise to wait for, or None for a 429."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(ROUND_TRIP / 2)
        if not self.admits(self):
            self.refusals.append(loop.time())
            await asyncio.sleep(ROUND_TRIP / 2)
            return None
        self.pending += 1
        promise = loop.create_future()
        loop.call_later(self.seconds * random.uniform(0.8, 1.2), self._finish, promise)
        await asyncio.sleep(ROUND_TRIP / 2)
        return promise

    def _finish(self, promise: asyncio.Future[None]) -> None:
        self.pending -= 1
        self.results.append(asyncio.get_running_loop().time())
        asyncio.get_running_loop().call_later(ROUND_TRIP / 2, promise.set_result, None)

    def share(self, begin: float, end: float) -> float:
        """Refusals for each result, in a span of time."""
        return self._rate(self.refusals, begin, end) / self._rate(self.results, begin, end)

    def results_a_second(self, begin: float, end: float) -> float:
        return self._rate(self.results, begin, end)

    def refusals_a_second(self, begin: float, end: float) -> float:
        return self._rate(self.refusals, begin, end)

    @staticmethod
    def _rate(times: list[float], begin: float, end: float) -> float:
        return sum(begin <= time < end for time in times) / (end - begin)


def slots(number: int) -> Callable[[Server], bool]:
    return lambda server: server.pending < number


def bucket(rate: float, burst: float) -> Callable[[Server], bool]:
    tokens, filled = burst, 0.0

    def admits(server: Server) -> bool:
        nonlocal tokens, filled
        now = asyncio.get_running_loop().time()
        tokens = min(burst, tokens + (now - filled) * rate)
        filled = now
        if tokens < 1:
            return False
        tokens -= 1
        return True

    return admits


def at_random(probability: float) -> Callable[[Server], bool]:
    return lambda server: random.random() >= probability


async def sample(capacity: Capacity, server: Server) -> None:
    place = capacity.place(lambda: 32)
    try:
        while True:
            await place.enter()
            promise = await server.ask()
            if promise is not None:
                break
            await place.refused(server.retry_after)
        place.accepted()
        await promise
    finally:
        place.leave()


async def keep_asking(capacity: Capacity, server: Server, seconds: float, in_flight: int = 512) -> None:
    """For so long, have so many requests that want to be on the server."""

    async def one_after_another() -> None:
        while True:
            await sample(capacity, server)

    tasks = [asyncio.create_task(one_after_another()) for _ in range(in_flight)]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert capacity.in_flight == 0


def asked(
    server: Server, seconds: float = 20.0, *, then: Callable[[], None] | None = None, at: float = 10.0
) -> Capacity:
    """What is found out about `server` in `seconds`, at one moment of which it changes."""
    capacity = Capacity()

    async def main() -> None:
        if then is not None:
            asyncio.get_running_loop().call_later(at, then)
        await keep_asking(capacity, server, seconds)

    run(main())
    return capacity


@pytest.fixture(autouse=True)
def _seed() -> None:
    random.seed(7)


@pytest.mark.parametrize("number", [1, 8, 64])
@pytest.mark.parametrize("seconds", [0.05, 0.2, 2.0])
def test_slots_are_used_and_hardly_anything_is_refused(number: int, seconds: float) -> None:
    server = Server(seconds, slots(number))
    asked(server, 20)
    best = number / (seconds + ROUND_TRIP)
    assert server.results_a_second(5, 20) > 0.8 * best
    assert server.refusals_a_second(5, 20) < 5


@pytest.mark.parametrize("burst", [10, 100])
@pytest.mark.parametrize("seconds", [0.001, 0.05, 1.0])
def test_a_token_bucket_is_used(burst: int, seconds: float) -> None:
    server = Server(seconds, bucket(100, burst))
    asked(server, 40)
    assert server.results_a_second(5, 40) > (95 if burst == 100 else 90)
    assert server.share(5, 40) < (0.2 if seconds == 0.05 else 0.35)


@pytest.mark.parametrize("probability", [0.02, 0.2])
@pytest.mark.parametrize("seconds", [0.05, 1.0])
def test_refusals_by_chance_do_not_slow_down(probability: float, seconds: float) -> None:
    server = Server(seconds, at_random(probability))
    capacity = asked(server, 8)
    assert server.results_a_second(4, 8) > 0.4 * 512 / (seconds + ROUND_TRIP)
    assert capacity.limit == math.inf or capacity.limit > 100


def test_a_limit_that_doubles_is_used() -> None:
    server = Server(0.2, slots(64))

    def double() -> None:
        server.admits = slots(128)

    asked(server, 20, then=double)
    assert server.results_a_second(15, 20) > 0.8 * 128 / 0.2
    assert server.refusals_a_second(15, 20) < 10


def test_a_limit_that_halves_is_kept() -> None:
    server = Server(0.2, slots(64))

    def halve() -> None:
        server.admits = slots(32)

    asked(server, 20, then=halve)
    assert server.results_a_second(11, 20) > 0.8 * 32 / 0.2
    assert server.refusals_a_second(11, 20) < 10


def test_a_full_server_after_refusals_by_chance() -> None:
    """What was forgiven then is not any more."""
    server = Server(0.2, at_random(0.2))

    def fill() -> None:
        server.admits = slots(64)

    asked(server, 20, then=fill, at=5)
    assert server.results_a_second(10, 20) > 0.8 * 64 / 0.2
    assert server.refusals_a_second(10, 20) < 10


def test_a_server_that_refuses_all_is_asked_once_a_second() -> None:
    server = Server(0.2, lambda server: False)
    asked(server, 60)
    assert 0.5 < server.refusals_a_second(5, 60) <= 1


def test_after_an_outage_all_is_used_again() -> None:
    server = Server(0.2, slots(0))

    def recover() -> None:
        server.admits = slots(64)

    asked(server, 40, then=recover)
    assert server.results_a_second(18, 40) > 0.8 * 64 / 0.2


def test_a_request_waits_as_long_as_the_server_says() -> None:
    server = Server(0.01, slots(0), retry_after=3.0)

    async def main() -> None:
        task = asyncio.create_task(sample(Capacity(), server))
        await asyncio.sleep(0.1)
        server.admits = slots(1)
        await task

    run(main())
    assert len(server.refusals) == 1
    assert server.results[0] > 3.0


def test_the_one_that_waits_longest_goes_first() -> None:
    server = Server(0.2, slots(4))
    capacity = Capacity()
    finished: list[int] = []

    async def one(number: int) -> None:
        await sample(capacity, server)
        finished.append(number)

    async def main() -> None:
        await asyncio.gather(*map(one, range(100)))

    run(main())
    late = {number: place - number for place, number in enumerate(finished) if place - number > 12}
    assert not late


def test_cancelled_requests_leave_no_trace() -> None:
    server = Server(0.2, slots(4))
    capacity = Capacity()

    async def main() -> None:
        tasks = [asyncio.create_task(sample(capacity, server)) for _ in range(50)]
        await asyncio.sleep(0.3)
        for task in tasks[10:40]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert [task.cancelled() for task in tasks[40:]] == [False] * 10

    run(main())
    assert capacity.in_flight == 0


def test_a_burst_at_a_token_bucket_is_no_chance() -> None:
    server = Server(0.05, bucket(100, 20))
    asked(server, 10)
    assert len(server.refusals) < 512 + 0.2 * len(server.results)
