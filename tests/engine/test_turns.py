"""Samplers take turns at polling: in order, not too many at once, and nobody for too long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from tinker_sidecar.engine.turns import PollTurns, Turn

pytestmark = pytest.mark.anyio

PATIENCE = 20.0


def idle() -> bool:
    return False


def nothing() -> None:
    pass


async def soon(turns: PollTurns, end: Callable[[], None] = nothing) -> Turn:
    """A turn, which must come."""
    return await asyncio.wait_for(turns.take(end), PATIENCE)


async def queue_up(turns: PollTurns, count: int) -> list[asyncio.Task[Turn]]:
    """So many who ask for a turn, one after the other."""
    asking = [asyncio.create_task(turns.take(nothing)) for _ in range(count)]
    await asyncio.sleep(0)
    return asking


async def test_a_turn_comes_at_once_and_lasts_while_there_is_room_for_all() -> None:
    turns = PollTurns(3, idle)
    ended: list[int] = []
    for number in range(3):
        turn = await soon(turns, partial(ended.append, number))
        assert turn.hold is None
    await asyncio.sleep(0.2)
    assert ended == []


async def test_there_are_no_more_turns_than_there_may_be_and_they_come_in_order() -> None:
    turns = PollTurns(2, idle)
    first, second = await soon(turns), await soon(turns)
    asking = await queue_up(turns, 3)
    assert not any(task.done() for task in asking)
    turns.give_back(second)
    await asyncio.wait(asking[:1], timeout=PATIENCE)
    assert [task.done() for task in asking] == [True, False, False]
    turns.give_back(first)
    turns.give_back(asking[0].result())
    await asyncio.wait(asking[1:], timeout=PATIENCE)
    assert all(task.done() for task in asking)


@pytest.mark.parametrize(("samplers", "hold"), [(4, 0.5), (8, 0.25), (1000, 0.004)])
async def test_turns_are_as_short_as_it_takes_for_each_to_have_one_within_a_second(
    samplers: int, hold: float
) -> None:
    """But so that there are no more than 500 polls a second, however many samplers there are."""
    turns = PollTurns(2, idle)
    first = await soon(turns)
    await soon(turns)
    asking = await queue_up(turns, samplers - 2)
    turns.give_back(first)
    [turn] = await asyncio.gather(asking[0])
    # At the time there were so many, and the one that had its turn is likely to ask again.
    assert turn.hold == pytest.approx(hold)
    for task in asking:
        task.cancel()


async def test_a_long_turn_is_ended_when_somebody_waits_and_the_oldest_first() -> None:
    turns = PollTurns(2, idle)
    ended: list[str] = []
    oldest = await soon(turns, lambda: ended.append("oldest"))
    await soon(turns, lambda: ended.append("other"))
    [asking] = await queue_up(turns, 1)
    while not ended:  # noqa: ASYNC110  # It is called from a timer.
        await asyncio.sleep(0.02)
    assert ended[0] == "oldest"
    turns.give_back(oldest)
    assert (await asking).hold is not None


async def test_polls_are_put_off_while_there_is_too_much_to_do_already() -> None:
    busy = True
    turns = PollTurns(35, lambda: busy)
    some = [await soon(turns) for _ in range(16)]
    assert not turns.has_room_for_more()
    asking = await queue_up(turns, 2)
    assert not any(task.done() for task in asking)
    busy = False
    turns.hand_out()
    await asyncio.gather(*asking)
    assert len(some) == 16
    assert not turns.has_room_for_more()  # More than half of them are taken.


async def test_polls_are_not_put_off_for_ever() -> None:
    turns = PollTurns(24, lambda: True)
    for _ in range(20):
        assert (await soon(turns)).hold is None


async def test_who_gives_up_waiting_leaves_the_queue() -> None:
    turns = PollTurns(1, idle)
    turn = await soon(turns)
    gone, next_one = await queue_up(turns, 2)
    gone.cancel()
    await asyncio.wait([gone])
    turns.give_back(turn)
    await asyncio.wait_for(next_one, PATIENCE)


async def test_a_turn_that_comes_too_late_is_given_to_the_next() -> None:
    turns = PollTurns(1, idle)
    turn = await soon(turns)
    asking = [asyncio.create_task(turns.take(nothing)) for _ in range(2)]
    await asyncio.sleep(0)
    turns.give_back(turn)
    asking[0].cancel()  # It has the turn, and does not know it yet.
    assert isinstance(await asyncio.wait_for(asking[1], PATIENCE), Turn)
    assert asking[0].cancelled()


async def test_a_place_is_kept_for_a_poll_that_may_be_needed_while_there_are_few() -> None:
    turns = PollTurns(4, idle)
    assert turns.has_room_for_more()
    await soon(turns)
    assert turns.has_room_for_more()
    await soon(turns)
    assert not turns.has_room_for_more()


async def test_closing_waits_for_last_words() -> None:
    turns = PollTurns(1, idle)
    said = []

    async def farewell() -> None:
        await asyncio.sleep(0.01)
        said.append("farewell")

    turns.see_off(farewell())
    await turns.close()
    assert said == ["farewell"]


async def test_a_thousand_who_ask_and_are_cancelled_together_take_no_turn() -> None:
    turns = PollTurns(1, idle)
    turn = await soon(turns)
    asking = await queue_up(turns, 1000)
    for task in asking:
        task.cancel()
    turns.give_back(turn)
    await asyncio.gather(*asking, return_exceptions=True)
    turns.give_back(await soon(turns))
