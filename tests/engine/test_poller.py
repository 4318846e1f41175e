"""One poll learns of every finished request of a sampler, and tells the server which ones it may forget."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.engine.poll_server import PollServer, poll_server
from tests.engine.services import service
from tinker_sidecar.engine.capacity import Capacity
from tinker_sidecar.engine.failures import EngineError
from tinker_sidecar.engine.outbox import Outbox
from tinker_sidecar.engine.poller import FuturesPoller
from tinker_sidecar.engine.retry import RetryPolicy
from tinker_sidecar.engine.session import Session
from tinker_sidecar.ipc.protocol import Retry

pytestmark = pytest.mark.anyio

CLONE = 3


def policy() -> RetryPolicy:
    """One with pauses that a test has time for."""
    retry = Retry(
        max_connections=None,
        progress_timeout=20,
        retry_delay_base=0.01,
        retry_delay_max=0.02,
        jitter_factor=0,
        enable_retry_logic=True,
        enable_stuck_detection=True,
    )
    return RetryPolicy(retry, resamples=True)


@pytest.fixture
async def server() -> AsyncIterator[PollServer]:
    async with poll_server() as server:
        yield server


@pytest.fixture
async def poller(server: PollServer) -> AsyncIterator[FuturesPoller]:
    """One for clone 3 of a sampler of `server`."""
    session = Session(service(server.base_url), Outbox(lambda batch: None), Capacity())
    await session.open("s")
    poller = FuturesPoller(session, "s:sample:0", CLONE, policy())
    try:
        yield poller
    finally:
        await poller.close()
        await session.close()


def wait_for(poller: FuturesPoller, *request_ids: str) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(poller.wait(request_id)) for request_id in request_ids]


async def came(*tasks: asyncio.Task[int]) -> list[int]:
    return await asyncio.wait_for(asyncio.gather(*tasks), 20)


async def test_every_waiter_gets_the_size_of_its_result(server: PollServer, poller: FuturesPoller) -> None:
    a, b, c = wait_for(poller, "a", "b", "c")
    poll = await server.poll()
    assert poll.body == {
        "target": {
            "type": "sampling_session",
            "sampling_session_id": "s:sample:0",
            "cloned_sampler_id": CLONE,
        },
        "prev_cursor": 0,
        "retrieved_request_ids": [],
    }
    poll.tell("c", "a", cursor=2, size=42)
    assert await came(a, c) == [42, 42]
    assert not b.done()
    poll = await server.poll()
    assert poll.cursor == 2
    poll.tell("b", cursor=3, state="failed", size=0)
    assert await came(b) == [0]


async def test_nobody_waits_and_nobody_polls(server: PollServer, poller: FuturesPoller) -> None:
    await server.is_left_alone()
    waiting = wait_for(poller, "a")
    (await server.poll()).tell("a")
    await came(*waiting)
    await server.is_left_alone()
    poller.retrieved("a")
    poll = await server.poll()
    assert (poll.cursor, poll.acknowledged, poll.body["timeout"]) == (1, ["a"], 0)
    poll.tell(cursor=1)
    await server.is_left_alone()


async def test_what_is_told_before_the_request_has_a_name_is_kept_for_it(
    server: PollServer, poller: FuturesPoller
) -> None:
    """The server may finish a request before its answer to `asample` is read: the poll is there by then."""
    ticket = poller.coming()
    poll = await server.poll()
    assert "timeout" not in poll.body
    poll.tell("a", size=42)
    (await server.poll()).tell(cursor=1)
    poller.came(ticket)
    assert await came(*wait_for(poller, "a")) == [42]


async def test_a_retrieved_result_is_acknowledged_with_the_next_poll(
    server: PollServer, poller: FuturesPoller
) -> None:
    waiting = wait_for(poller, "a", "b")
    (await server.poll()).tell("a")
    await came(waiting[0])
    under_way = await server.poll()
    assert under_way.acknowledged == []
    poller.retrieved("a")
    under_way.tell("b", cursor=2)
    await came(waiting[1])
    poller.retrieved("b")
    assert await server.next_acknowledged() == ["a"]
    assert await server.next_acknowledged() == ["b"]


async def test_an_acknowledgement_that_may_not_have_arrived_is_sent_again(
    server: PollServer, poller: FuturesPoller
) -> None:
    waiting = wait_for(poller, "a", "b")
    (await server.poll()).tell("a")
    await came(waiting[0])
    poller.retrieved("a")
    (await server.poll()).tell(cursor=1)
    poll = await server.poll()
    assert poll.acknowledged == ["a"]
    poll.answer(503)
    poll = await server.poll()
    assert poll.acknowledged == ["a"]
    poll.tell("b", cursor=2)
    assert await came(waiting[1]) == [7]
    assert (await server.poll()).acknowledged == []


async def test_who_is_cancelled_has_the_server_forget_what_it_finishes_later(
    server: PollServer, poller: FuturesPoller
) -> None:
    a, b = wait_for(poller, "a", "b")
    poll = await server.poll()
    a.cancel()
    await asyncio.wait([a])
    poll.tell("b", cursor=1)
    await came(b)
    poll = await server.poll()  # It goes on, though nobody waits, until the server has told of "a".
    poll.tell(cursor=1)
    poll = await server.poll()
    assert (poll.acknowledged, "timeout" in poll.body) == ([], False)
    poll.tell("a", cursor=2)
    poll = await server.poll()
    assert (poll.acknowledged, poll.body["timeout"]) == (["a"], 0)
    poll.tell(cursor=2)


async def test_who_is_cancelled_just_as_the_result_is_told_of_has_the_server_forget_it(
    server: PollServer, poller: FuturesPoller
) -> None:
    [cancelled] = wait_for(poller, "a")

    async def cancel_when_b_is_told_of() -> None:
        await poller.wait("b")
        cancelled.cancel()  # It has been told of in this turn of the loop, and does not know it yet.

    cancelling = asyncio.create_task(cancel_when_b_is_told_of())
    (await server.poll()).tell("b", "a", cursor=2)
    await cancelling
    await asyncio.wait([cancelled])
    assert cancelled.cancelled()
    assert await server.next_acknowledged() == ["a"]


async def test_what_is_given_up_is_forgotten_whether_it_was_told_of_before_or_after(
    server: PollServer, poller: FuturesPoller
) -> None:
    ticket = poller.coming()
    (await server.poll()).tell("a", cursor=1)
    poll = await server.poll()
    poller.given_up("a")
    poller.given_up("b")
    poller.came(ticket)
    poll.tell("b", cursor=2)
    assert sorted((await server.poll()).acknowledged) == ["a", "b"]


async def test_what_is_told_of_twice_is_acknowledged(server: PollServer, poller: FuturesPoller) -> None:
    """As after a poll whose answer was lost: the second telling is no early word of another request."""
    waiting = wait_for(poller, "a", "b")
    (await server.poll()).tell("a", cursor=1)
    await came(waiting[0])
    (await server.poll()).tell("a", cursor=2)
    poll = await server.poll()
    poller.retrieved("a")
    poll.tell("b", cursor=3)
    await came(waiting[1])
    poll = await server.poll()
    assert poll.acknowledged == ["a"]
    [again] = wait_for(poller, "a")
    poll.tell(cursor=3)
    (await server.poll()).tell(cursor=3)
    assert not again.done()
    again.cancel()


async def test_a_server_without_the_route_tells_everybody(server: PollServer, poller: FuturesPoller) -> None:
    waiting = wait_for(poller, "a", "b")
    assert not poller.is_unsupported
    (await server.poll()).answer(404, {"detail": "Not Found"})
    for outcome in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(outcome, EngineError)
        assert outcome.status == 404
    assert poller.is_unsupported
    with pytest.raises(EngineError, match="404"):
        await poller.wait("c")
    for request_id in ("a", "b"):
        poller.retrieved(request_id)
        poller.given_up(request_id)
    await server.is_left_alone()


async def test_another_error_is_final_too_but_says_nothing_of_the_route(
    server: PollServer, poller: FuturesPoller
) -> None:
    waiting = wait_for(poller, "a")
    (await server.poll()).answer(422, {"detail": "no"})
    [outcome] = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(outcome, EngineError)
    assert outcome.status == 422
    assert not poller.is_unsupported


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_trouble_that_passes_is_nobodys_business(
    server: PollServer, poller: FuturesPoller, status: int
) -> None:
    waiting = wait_for(poller, "a")
    for _ in range(5):
        (await server.poll()).answer(status)
    (await server.poll()).tell("a")
    assert await came(*waiting) == [7]


async def test_a_server_that_does_not_know_the_cursor_is_read_from_the_beginning(
    server: PollServer, poller: FuturesPoller
) -> None:
    """As one that was restarted."""
    waiting = wait_for(poller, "a", "b")
    (await server.poll()).tell("a", cursor=5)
    poll = await server.poll()
    assert poll.cursor == 5
    poll.answer(400, {"detail": "prev_cursor is 5; this client was given 0 at most"})
    poll = await server.poll()
    assert poll.cursor == 0
    poll.tell("b", cursor=1)
    assert await came(*waiting) == [7, 7]
    assert (await server.poll()).cursor == 1


async def test_a_server_that_refuses_again_and_again_is_believed(
    server: PollServer, poller: FuturesPoller
) -> None:
    waiting = wait_for(poller, "a")
    for _ in range(4):
        (await server.poll()).answer(400, {"detail": "no"})
    [outcome] = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(outcome, EngineError)
    assert outcome.status == 400


async def test_refusals_are_counted_in_a_row(server: PollServer, poller: FuturesPoller) -> None:
    waiting = wait_for(poller, "a")
    for _ in range(3):
        for _ in range(3):
            (await server.poll()).answer(400, {"detail": "no"})
        (await server.poll()).tell(cursor=1)
    (await server.poll()).tell("a", cursor=1)
    assert await came(*waiting) == [7]
