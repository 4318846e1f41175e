"""A budget never gives out more than it has, keeps the order, and forgets nobody."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import example, given
from hypothesis import strategies as st

from tinker_sidecar.engine.limits import Budget

SIZE = 10

_steps = st.lists(
    st.tuples(st.just("take"), st.integers(0, SIZE + 3))
    | st.tuples(st.sampled_from(["cancel", "give_back", "cancel_at_once"]), st.integers(0, 7)),
    max_size=30,
)


@dataclass
class Crowd:
    """Tasks that take a share each and hold it until told to give it back."""

    budget: Budget
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    amounts: dict[asyncio.Task[None], int] = field(default_factory=dict)
    holding: list[asyncio.Task[None]] = field(default_factory=list)
    releases: dict[asyncio.Task[None], asyncio.Event] = field(default_factory=dict)

    def take(self, amount: int) -> None:
        release = asyncio.Event()
        task = asyncio.create_task(self._hold(amount, release))
        self.tasks.append(task)
        self.amounts[task] = min(amount, SIZE)
        self.releases[task] = release

    async def _hold(self, amount: int, release: asyncio.Event) -> None:
        task = asyncio.current_task()
        assert task is not None
        async with self.budget.hold(amount):
            self.holding.append(task)
            assert self.used() <= SIZE
            try:
                await release.wait()
            finally:
                self.holding.remove(task)

    def used(self) -> int:
        return sum(self.amounts[task] for task in self.holding)

    def waiting(self) -> list[asyncio.Task[None]]:
        return [task for task in self.tasks if not task.done() and task not in self.holding]

    async def step(self, what: str, number: int) -> None:
        alive = [task for task in self.tasks if not task.done()]
        if what == "take":
            self.take(number)
        elif alive and what != "give_back":
            alive[number % len(alive)].cancel()
        elif self.holding:
            self.releases[self.holding[number % len(self.holding)]].set()
        if (
            what != "cancel_at_once"
        ):  # That one meets a task whose turn has come and who does not know it yet.
            await settle()

    async def end(self) -> None:
        """Everybody gives back what they have as soon as they have it."""
        for release in self.releases.values():
            release.set()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@given(_steps)
def test_never_more_than_there_is_and_nobody_is_forgotten(steps: list[tuple[str, int]]) -> None:
    async def main() -> None:
        crowd = Crowd(Budget(SIZE))
        for step in steps:
            await crowd.step(*step)
            assert crowd.used() <= SIZE
        await asyncio.wait_for(crowd.end(), 10)
        assert all(task.cancelled() or task.exception() is None for task in crowd.tasks)
        # All that was taken is back: the whole can be had at once.
        assert await asyncio.wait_for(crowd.budget.take(SIZE), 10) == SIZE

    asyncio.run(main())


@given(_steps)
@example([("take", 5), ("take", 8), ("take", 3), ("cancel", 1)])
def test_nobody_waits_for_what_is_there(steps: list[tuple[str, int]]) -> None:
    """When all is quiet, the first in the queue wants more than is left, whoever has left the queue."""

    async def main() -> None:
        crowd = Crowd(Budget(SIZE))
        for step in steps:
            await crowd.step(*step)
            await settle()
            if waiting := crowd.waiting():
                assert crowd.used() + crowd.amounts[waiting[0]] > SIZE
        await crowd.end()

    asyncio.run(main())


@given(st.lists(st.integers(1, SIZE + 3), min_size=1, max_size=12))
def test_first_come_first_served(amounts: list[int]) -> None:
    order: list[int] = []

    async def main() -> None:
        budget = Budget(SIZE)

        async def hold(index: int, amount: int) -> None:
            async with budget.hold(amount):
                order.append(index)
                await asyncio.sleep(0)

        await asyncio.gather(*(hold(index, amount) for index, amount in enumerate(amounts)))

    asyncio.run(main())
    assert order == list(range(len(amounts)))
