"""As many short requests are open at once as the distance of the server asks for, whoever else waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

from tinker_sidecar.engine.pace import Pace


async def open_one(pace: Pace, *, is_last: bool) -> float:
    """Open a request, when it is its turn."""
    if not pace.try_take(1):
        await pace.wait(1, is_last)
    return monotonic()


def most_at_once(
    answer: Callable[[], Awaitable[object]],
    *,
    requests: int,
    answered: bool = True,
    then: Callable[[], Awaitable[object]] | None = None,
) -> int:
    """The most that were open at once, of `requests` that come together, each followed by one of `then`."""
    now = most = 0

    async def ask(pace: Pace) -> None:
        nonlocal now, most
        asked_at = await open_one(pace, is_last=True)
        now += 1
        most = max(most, now)
        await answer()
        now -= 1
        pace.leave("asample", asked_at, answered=answered)
        if then is not None:
            asked_at = await open_one(pace, is_last=False)
            await then()
            pace.leave("retrieve_future", asked_at, answered=True)

    async def ask_all() -> None:
        pace = Pace()
        await asyncio.gather(*(ask(pace) for _ in range(requests)))

    asyncio.run(ask_all())
    return most


def test_a_near_server_with_a_queue_gets_no_more_than_that() -> None:
    queue = asyncio.Lock()

    async def answer() -> None:
        async with queue:
            await asyncio.sleep(0)

    assert most_at_once(answer, requests=1500) == 128


def test_a_far_server_gets_many() -> None:
    assert most_at_once(lambda: asyncio.sleep(0.2), requests=1500) == 400


def test_quick_results_make_no_slow_submissions_near() -> None:
    most = most_at_once(lambda: asyncio.sleep(0.2), requests=1500, then=lambda: asyncio.sleep(0))
    assert most == 400


def test_a_refusal_tells_no_distance() -> None:
    assert most_at_once(lambda: asyncio.sleep(0.1), requests=40, answered=False) == 8


def test_what_finishes_something_goes_before_what_begins() -> None:
    order: list[str] = []

    async def ask(pace: Pace, name: str, *, is_last: bool) -> None:
        asked_at = await open_one(pace, is_last=is_last)
        order.append(name)
        await asyncio.sleep(0)
        pace.leave("asample", asked_at, answered=False)

    async def ask_all() -> None:
        pace = Pace()
        begins = [ask(pace, "begins", is_last=True) for _ in range(20)]
        finishes = [ask(pace, "finishes", is_last=False) for _ in range(4)]
        await asyncio.gather(*begins, *finishes)

    asyncio.run(ask_all())
    assert order == ["begins"] * 8 + ["finishes"] * 4 + ["begins"] * 12
