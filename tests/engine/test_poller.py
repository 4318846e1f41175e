"""One poll learns of every finished request of a sampler, and tells the server which ones it may forget."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.engine.poll_server import PollServer, poll_server
from tests.engine.services import service
from tinker_sidecar.engine.account import Accounts
from tinker_sidecar.engine.failures import EngineError
from tinker_sidecar.engine.outbox import Outbox
from tinker_sidecar.engine.poller import FuturesPoller
from tinker_sidecar.engine.retry import RetryPolicy
from tinker_sidecar.engine.session import Session
from tinker_sidecar.engine.turns import PollTurns
from tinker_sidecar.ipc.protocol import Retry

pytestmark = pytest.mark.anyio

CLONE = 3


RETRY = Retry(
    max_connections=None,
    progress_timeout=20,
    retry_delay_base=0.01,  # Pauses that a test has time for.
    retry_delay_max=0.02,
    jitter_factor=0,
    enable_retry_logic=True,
    enable_stuck_detection=True,
)


@pytest.fixture
async def server() -> AsyncIterator[PollServer]:
    async with poll_server() as server:
        yield server


@pytest.fixture
async def session(server: PollServer) -> AsyncIterator[Session]:
    config = service(server.base_url)
    session = Session(config, Outbox(lambda batch: None), Accounts().take(config), lambda route, cause: None)
    await session.open("s")
    try:
        yield session
    finally:
        await session.close()


@pytest.fixture
async def poller(session: Session) -> AsyncIterator[FuturesPoller]:
    """One for clone 3 of a sampler of `server`."""
    poller = poller_of(session, "s:sample:0")
    try:
        yield poller
    finally:
        await poller.close(says_farewell=True)


def poller_of(session: Session, sampling_session_id: str) -> FuturesPoller:
    policy = RetryPolicy(RETRY, resamples=True)
    return session.account.copies.poller((sampling_session_id, RETRY), CLONE, policy, session.retries)


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
    assert await server.next_acknowledged() == ["a", "b"]


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
    for _ in range(2):  # It looks for "a" now and then, though nobody waits, and has no poll held.
        poll = await server.poll()
        assert (poll.acknowledged, poll.body["timeout"]) == ([], 0)
        poll.tell(cursor=1)
    poll = await server.poll()
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
    poller.comes_not(ticket)
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


async def test_nothing_is_held_open_once_the_last_result_is_told_of(
    server: PollServer, poller: FuturesPoller
) -> None:
    waiting = wait_for(poller, "a", "b")
    (await server.poll()).tell("a", "b", cursor=2)
    await came(*waiting)
    poll = await server.poll()
    assert (poll.cursor, poll.body["timeout"]) == (2, 0)
    poll.tell(cursor=2)
    await server.is_left_alone()


async def test_what_is_told_of_already_is_not_waited_for(server: PollServer, poller: FuturesPoller) -> None:
    """A request that is still being submitted, though the server has told that it is done."""
    ticket = poller.coming()
    (await server.poll()).tell("a")
    poll = await server.poll()
    assert poll.body["timeout"] == 0
    poll.tell(cursor=1)
    poller.came(ticket)
    assert await came(*wait_for(poller, "a")) == [7]


async def test_a_poll_is_given_up_with_the_last_who_waits(server: PollServer, poller: FuturesPoller) -> None:
    a, b = wait_for(poller, "a", "b")
    poll = await server.poll()
    a.cancel()
    b.cancel()
    await poll.is_abandoned()
    later = await server.poll()
    assert (later.acknowledged, later.body["timeout"]) == ([], 0)
    later.tell("a", "b", cursor=2)
    assert await server.next_acknowledged() == ["a", "b"]


async def test_a_poll_is_given_up_when_the_request_never_comes(
    server: PollServer, poller: FuturesPoller
) -> None:
    ticket = poller.coming()
    poll = await server.poll()
    poller.comes_not(ticket)
    await poll.is_abandoned()
    await server.is_left_alone()


async def test_a_poll_goes_on_for_who_comes_at_once(server: PollServer, poller: FuturesPoller) -> None:
    [a] = wait_for(poller, "a")
    poll = await server.poll()
    a.cancel()
    await asyncio.wait([a])
    waiting = wait_for(poller, "b")
    poll.tell("a", "b", cursor=2)
    assert await came(*waiting) == [7]


async def test_acknowledgements_are_gathered(server: PollServer, poller: FuturesPoller) -> None:
    names = [f"{number}" for number in range(50)]
    waiting = wait_for(poller, *names)
    (await server.poll()).tell(*names, cursor=50)
    await came(*waiting)
    for name in names:
        poller.retrieved(name)
        await asyncio.sleep(0)
    assert await server.next_acknowledged() == names


async def test_what_is_not_acknowledged_yet_is_when_the_sampler_is_closed(
    server: PollServer, poller: FuturesPoller
) -> None:
    waiting = wait_for(poller, "a", "b")
    (await server.poll()).tell("a")
    await came(waiting[0])
    poll = await server.poll()
    poller.retrieved("a")
    closing = asyncio.create_task(poller.close(says_farewell=True))
    await poll.is_abandoned()
    last = await server.poll()
    assert (last.acknowledged, last.body["timeout"]) == (["a"], 0)
    last.tell(cursor=1)
    await closing
    await server.is_left_alone()
    waiting[1].cancel()


async def test_closing_does_not_wait_long_for_a_server_that_says_nothing(
    server: PollServer, poller: FuturesPoller
) -> None:
    waiting = wait_for(poller, "a")
    (await server.poll()).tell("a")
    await came(*waiting)
    poller.retrieved("a")
    await asyncio.wait_for(poller.close(says_farewell=True), 20)
    assert (await server.poll()).acknowledged == ["a"]


async def test_an_error_that_lasts_is_for_those_who_wait_then(
    server: PollServer, poller: FuturesPoller
) -> None:
    """As that of a key which has expired: who comes when there is a new one is not told of it."""
    waiting = wait_for(poller, "a")
    (await server.poll()).answer(403, {"detail": "no"})
    with pytest.raises(EngineError, match="403"):
        await came(*waiting)
    await server.is_left_alone()
    waiting = wait_for(poller, "b")
    (await server.poll()).tell("b")
    assert await came(*waiting) == [7]


async def test_samplers_take_turns_when_there_are_more_than_polls(
    server: PollServer, session: Session
) -> None:
    """Each is told of its results, though the server may hold no more than two polls at once."""
    session.http.turns = PollTurns(2, lambda: False)
    pollers = [poller_of(session, f"s:sample:{number}") for number in range(5)]
    waiting = [asyncio.create_task(poller.wait("a")) for poller in pollers]
    told = set()
    before = [await server.poll() for _ in range(2)]
    assert "timeout" not in before[0].body
    for poll in before:
        await poll.is_abandoned()  # It was sent before the others came, without a limit.
    while len(told) < 5:
        poll = await server.poll()
        sampler = poll.body["target"]["sampling_session_id"]
        assert 0 < poll.body.get("timeout", 1) <= 1
        poll.tell("a", cursor=1)
        told.add(sampler)
    assert await came(*waiting) == [7] * 5
    for poller in pollers:
        await poller.close(says_farewell=True)
