"""Signs of life that do not come are what results have waited for the program."""

from __future__ import annotations

import pytest

from tinker_sidecar.watch import feed as module
from tinker_sidecar.watch.feed import BUSY, IDLE, IDLE_TICK, TICK, WAKING, Feed
from tinker_sidecar.watch.recent import RecentGrowth


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


def test_a_sign_that_is_late(clock: Clock) -> None:
    feed = Feed()
    assert (feed.waiting_since(), feed.starved()) == (None, 0.0)
    feed.take(BUSY)
    clock.now += TICK
    assert (feed.waiting_since(), feed.starved()) == (None, 0.0)
    due = clock.now
    clock.now += 3.0
    assert (feed.waiting_since(), feed.starved()) == (due, pytest.approx(3.0))
    feed.take(BUSY)
    assert (feed.waiting_since(), feed.starved()) == (None, pytest.approx(3.0))
    clock.now += TICK + 1.0
    assert feed.starved() == pytest.approx(4.0)


def test_nothing_waits_while_nothing_is_in_flight(clock: Clock) -> None:
    feed = Feed()
    feed.take(BUSY + IDLE)
    clock.now += 60.0
    assert (feed.waiting_since(), feed.starved()) == (None, 0.0)
    feed.take(IDLE + BUSY)
    clock.now += 60.0
    assert feed.waiting_since() is not None


def test_an_engine_that_had_nothing_to_do_has_a_while_to_know_better(clock: Clock) -> None:
    feed = Feed()
    feed.take(WAKING)
    clock.now += IDLE_TICK
    assert (feed.waiting_since(), feed.starved()) == (None, 0.0)
    due = clock.now
    clock.now += 1.0
    assert (feed.waiting_since(), feed.starved()) == (due, pytest.approx(1.0))
    feed.take(IDLE)
    clock.now += 60.0
    assert (feed.waiting_since(), feed.starved()) == (None, pytest.approx(1.0))


def test_how_much_lately() -> None:
    recent = RecentGrowth(5.0)
    assert [recent.at(second, second / 2) for second in range(8)] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 2.5, 2.5]
    recent.forget()
    assert [recent.at(8.0, 4.0), recent.at(9.0, 4.5)] == [0.0, 0.5]
