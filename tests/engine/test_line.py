"""A line lets in as many as may be inside, in the order in which they came, and forgets nobody."""

from __future__ import annotations

import asyncio

import pytest

from tinker_sidecar.engine.line import Line

pytestmark = pytest.mark.anyio


class Door:
    """A line of the numbers from 0 on, and those that have been let in."""

    def __init__(self, at_once: int, most: int = 100) -> None:
        self.at_once = at_once
        self.line = Line(most, lambda: self.at_once)
        self.let_in: list[int] = []
        self.given_up: set[int] = set()

    def join(self, *numbers: int, program: int = 0, whose: str = "") -> None:
        for number in numbers:
            self.line.join(program, whose, self._begin, number)

    def _begin(self, number: int) -> bool:
        if number in self.given_up:
            return False
        self.let_in.append(number)
        return True


async def test_so_many_at_once_the_first_ones_first() -> None:
    door = Door(2)
    door.join(0, 1, 2, 3)
    assert door.let_in == [0, 1]
    assert door.line.waiting == 2
    door.line.leave()
    assert door.let_in == [0, 1, 2]


async def test_who_comes_with_one_does_not_wait_for_the_many_of_another() -> None:
    door = Door(1)
    door.join(*range(100), whose="many")
    door.join(100, whose="one")
    door.join(*range(101, 121), whose="some")
    for _ in range(120):
        door.line.leave()
    assert door.let_in == [
        *range(17),
        100,
        *range(101, 117),
        *range(17, 33),
        *range(117, 121),
        *range(33, 100),
    ]


async def test_programs_take_turns() -> None:
    door = Door(1)
    door.join(*range(5))
    door.join(*range(5, 8), program=7)
    for _ in range(7):
        door.line.leave()
    assert door.let_in == [0, 1, 5, 2, 6, 3, 7, 4]


async def test_what_was_given_up_takes_no_turn() -> None:
    door = Door(1)
    door.join(*range(100))
    door.join(*range(100, 200), program=7, whose="one")
    door.join(*range(200, 300), program=7, whose="another")
    door.given_up.update(range(100, 199), range(200, 299))
    for _ in range(4):
        door.line.leave()
    assert door.let_in == [0, 1, 199, 2, 299]


async def test_who_has_given_up_takes_no_place() -> None:
    door = Door(1)
    door.join(*range(20_000))
    door.given_up.update(range(1, 19_999))
    door.line.leave()
    assert door.let_in == [0, 19_999]
    assert (door.line.inside, door.line.waiting) == (1, 0)


async def test_others_are_let_in_for_those_who_rest_up_to_a_limit() -> None:
    door = Door(1, most=3)
    door.join(*range(9))
    for _ in range(4):
        door.line.rest()
    assert door.let_in == [0, 1, 2]
    assert door.line.limit == 3
    for _ in range(4):
        door.line.go_on()
    door.line.leave()
    door.line.leave()
    assert door.let_in == [0, 1, 2]
    door.line.leave()
    assert door.let_in == [0, 1, 2, 3]


async def test_a_limit_that_has_grown_is_used() -> None:
    door = Door(1)
    door.join(*range(9))
    door.at_once = 4
    door.line.leave()
    assert door.let_in == [0, 1, 2, 3, 4]


async def test_who_waits_as_a_task_stands_in_the_same_line() -> None:
    door = Door(1)
    door.join(0)
    entering = asyncio.create_task(door.line.enter(0, ""))
    await asyncio.sleep(0)
    door.join(1)
    door.line.leave()
    await entering
    assert door.let_in == [0]
    door.line.leave()
    assert door.let_in == [0, 1]


@pytest.mark.parametrize("has_its_turn", [False, True])
async def test_a_task_that_is_cancelled_leaves_its_place(has_its_turn: bool) -> None:
    door = Door(1)
    door.join(0)
    entering = asyncio.create_task(door.line.enter(0, ""))
    await asyncio.sleep(0)
    if has_its_turn:
        door.line.leave()
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    if not has_its_turn:
        door.line.leave()
    assert (door.line.inside, door.line.waiting) == (0, 0)
