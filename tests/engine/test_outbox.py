"""How results become batches: a lone one leaves at once, and what is about to come goes along."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic

import pytest

from tinker_sidecar.engine.outbox import Outbox
from tinker_sidecar.ipc.protocol import Batch, Event, Failure, LogLine, Reply

pytestmark = pytest.mark.anyio

FAILURE = Failure("APIError", "on purpose")
EVENT: Event = LogLine("tests", logging.INFO, "hello")

AT_ONCE: dict[str, Callable[[Outbox], None]] = {
    "a failure": lambda outbox: outbox.failed(7, FAILURE),
    "a reply": lambda outbox: outbox.reply(Reply(1)),
    "an event": lambda outbox: outbox.event(EVENT),
}


@pytest.fixture
def sent() -> list[Batch]:
    """What has left `outbox`."""
    return []


@pytest.fixture
def outbox(sent: list[Batch]) -> Outbox:
    return Outbox(sent.append)


async def turn() -> None:
    """Let the event loop call what is due now: an outbox that means to send has sent after it."""
    await asyncio.sleep(0)


def done(outbox: Outbox, *requests: int, size: int = 1) -> None:
    for request in requests:
        outbox.done(request, bytes(size), None)


def come(outbox: Outbox, *requests: int, size: int = 1) -> None:
    """The results of these requests, which were expected, as the engine brings them."""
    for request in requests:
        outbox.expect_no_more(request)
        outbox.done(request, bytes(size), None)


def requests_in(batches: list[Batch]) -> list[list[int]]:
    return [batch.done for batch in batches]


async def test_a_lone_result_leaves_with_the_next_turn_of_the_loop(outbox: Outbox, sent: list[Batch]) -> None:
    outbox.done(5, b"result", None)
    assert sent == []
    await turn()
    assert sent == [Batch(1, [5], [b"result"], [], [], [], request_ids=[""])]


async def test_what_comes_in_one_turn_of_the_loop_goes_together(outbox: Outbox, sent: list[Batch]) -> None:
    done(outbox, 1, 2)
    outbox.failed(3, FAILURE)
    outbox.reply(Reply(4))
    outbox.event(EVENT)
    await turn()
    assert sent == [
        Batch(1, [1, 2], [b"\0", b"\0"], [(3, FAILURE)], [Reply(4)], [EVENT], request_ids=["", ""])
    ]


async def test_one_batch_is_under_way_until_it_is_acknowledged(outbox: Outbox, sent: list[Batch]) -> None:
    """Meanwhile everything gathers, urgent or not."""
    done(outbox, 1)
    await turn()
    done(outbox, 2)
    outbox.failed(3, FAILURE)
    await turn()
    done(outbox, *range(4, 4 + 2 * Outbox._MANY))
    await turn()
    assert requests_in(sent) == [[1]]

    outbox.acknowledged(1)
    await turn()
    assert requests_in(sent) == [[1], [2, *range(4, 4 + 2 * Outbox._MANY)]]
    assert sent[1].failed == [(3, FAILURE)]
    outbox.acknowledged(2)
    await turn()
    assert len(sent) == 2


@pytest.mark.parametrize("number", [0, 1, 3], ids=["none", "one that came twice", "one to come"])
async def test_another_number_acknowledges_nothing(outbox: Outbox, sent: list[Batch], number: int) -> None:
    done(outbox, 1)
    await turn()
    outbox.acknowledged(1)
    done(outbox, 2)
    await turn()
    done(outbox, 3)
    outbox.acknowledged(number)
    await turn()
    assert requests_in(sent) == [[1], [2]]


async def test_a_result_waits_for_those_that_are_on_their_way_when_it_comes(
    outbox: Outbox, sent: list[Batch]
) -> None:
    for request in (1, 2, 3):
        outbox.expect(request)
    come(outbox, 2)
    await turn()
    come(outbox, 1)
    await turn()
    assert sent == []
    come(outbox, 3)
    await turn()
    assert requests_in(sent) == [[2, 1, 3]]


async def test_it_does_not_wait_for_what_sets_out_later(outbox: Outbox, sent: list[Batch]) -> None:
    outbox.expect(1)
    outbox.expect(2)
    come(outbox, 1)
    outbox.expect(3)
    done(outbox, 4)
    await turn()
    assert sent == []
    come(outbox, 2)
    await turn()
    assert requests_in(sent) == [[1, 4, 2]]


async def test_one_that_is_not_to_be_expected_any_more_is_not_waited_for(
    outbox: Outbox, sent: list[Batch]
) -> None:
    """As when the server says that the result will take longer."""
    outbox.expect(1)
    outbox.expect(2)
    come(outbox, 1)
    outbox.expect_no_more(2)
    await turn()
    assert requests_in(sent) == [[1]]


async def test_each_is_waited_for_once(outbox: Outbox, sent: list[Batch]) -> None:
    """A batch that had to leave without a slow result leaves the next ones free of it."""
    outbox.expect(1)
    done(outbox, 2)
    outbox.failed(3, FAILURE)  # The batch leaves, without 1.
    await turn()
    outbox.acknowledged(1)
    done(outbox, 4)
    await turn()
    assert requests_in(sent) == [[2], [4]]


@pytest.mark.parametrize("urgent", AT_ONCE.values(), ids=AT_ONCE)
async def test_what_is_urgent_leaves_at_once_and_takes_along_what_waits(
    outbox: Outbox, sent: list[Batch], urgent: Callable[[Outbox], None]
) -> None:
    outbox.expect(1)
    done(outbox, 2)
    await turn()
    assert sent == []
    urgent(outbox)
    await turn()
    assert requests_in(sent) == [[2]]
    assert len(sent[0].failed + sent[0].replies + sent[0].events) == 1


async def test_many_results_wait_for_none(outbox: Outbox, sent: list[Batch]) -> None:
    outbox.expect(0)
    done(outbox, *range(1, Outbox._MANY))
    await turn()
    assert sent == []
    done(outbox, Outbox._MANY)
    await turn()
    assert requests_in(sent) == [[*range(1, Outbox._MANY + 1)]]


async def test_large_results_wait_for_none(outbox: Outbox, sent: list[Batch]) -> None:
    outbox.expect(0)
    done(outbox, 1, size=Outbox._LARGE - 1)
    await turn()
    assert sent == []
    done(outbox, 2)
    await turn()
    assert requests_in(sent) == [[1, 2]]
    outbox.acknowledged(1)  # What the client has does not count any more.
    outbox.expect(4)
    done(outbox, 3)
    await turn()
    assert requests_in(sent) == [[1, 2]]


async def test_one_that_is_stuck_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Outbox, "_STALLED", 0.05)
    batch: asyncio.Future[Batch] = asyncio.get_running_loop().create_future()
    outbox = Outbox(batch.set_result)
    outbox.expect(1)
    done(outbox, 2)
    await turn()
    assert not batch.done()
    assert (await asyncio.wait_for(batch, 20)).done == [2]


@pytest.mark.parametrize("comes", [True, False])
async def test_the_watch_over_one_batch_does_not_hurry_the_next(
    comes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was set for a batch that has left by itself; the next one has its own time from then on."""
    monkeypatch.setattr(Outbox, "_STALLED", 0.05)
    sent: asyncio.Queue[Batch] = asyncio.Queue()
    outbox = Outbox(sent.put_nowait)
    outbox.expect(1)
    done(outbox, 2)  # Waits for 1, under watch.
    if comes:  # A loop calls what is due in order: this comes after the first watch, before the second.
        asyncio.get_running_loop().call_later(0.06, come, outbox, 3)
    come(outbox, 1)
    assert (await sent.get()).done == [2, 1]
    outbox.expect(3)
    outbox.acknowledged(1)
    done(outbox, 4)  # Waits for 3, under the same watch at first.
    assert (await asyncio.wait_for(sent.get(), 20)).done == ([4, 3] if comes else [4])


async def test_there_is_no_room_while_the_client_takes_nothing(outbox: Outbox, sent: list[Batch]) -> None:
    outbox.bound(100)
    done(outbox, 1, size=100)
    await outbox.room()
    done(outbox, 2)
    waiting = asyncio.create_task(outbox.room())
    await turn()
    await turn()
    assert requests_in(sent) == [[1, 2]]
    assert not waiting.done()
    outbox.acknowledged(1)
    await asyncio.wait_for(waiting, 20)


async def test_the_room_may_become_less_and_more(outbox: Outbox, sent: list[Batch]) -> None:
    """As that of a program that shares a sidecar, with each that comes and goes."""
    done(outbox, 1, size=100)
    outbox.bound(50)
    done(outbox, 2)
    waiting = asyncio.create_task(outbox.room())
    await turn()
    assert not waiting.done()
    outbox.bound(200)
    await asyncio.wait_for(waiting, 20)


async def test_that_a_result_was_taken_is_told_with_the_acknowledgement() -> None:
    taken: list[int] = []
    outbox = Outbox(lambda batch: None)
    outbox.done(1, b"", lambda at: taken.append(1))
    outbox.done(2, b"", None)
    await turn()
    outbox.done(3, b"", lambda at: taken.append(3))
    assert taken == []
    outbox.acknowledged(7)
    assert taken == []
    outbox.acknowledged(1)
    assert taken == [1]
    await turn()
    outbox.acknowledged(2)
    assert taken == [1, 3]
    outbox.acknowledged(2)
    assert taken == [1, 3]


async def test_what_is_awaited_is_taken_when_its_loop_has_run() -> None:
    taken: list[float] = []
    outbox = Outbox(lambda batch: None)
    outbox.done(1, b"", taken.append)
    await turn()
    outbox.acknowledged(1, is_awaited=True)
    outbox.done(2, b"", taken.append)
    await turn()  # The next batch leaves all the same.
    assert outbox.waiting_since is not None
    outbox.acknowledged(2)
    assert len(taken) == 1
    outbox.taken(1, monotonic())
    assert len(taken) == 2
    assert outbox.waiting_since is None


async def test_a_reply_is_nothing_that_waits_for_the_program() -> None:
    outbox = Outbox(lambda batch: None)
    outbox.reply(Reply(1))
    await turn()
    assert outbox.waiting_since is None
