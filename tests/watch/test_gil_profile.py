"""What each place in the program has cost."""

from __future__ import annotations

import pytest

from tinker_sidecar.ipc.stats import GilHolder
from tinker_sidecar.watch import gil_profile
from tinker_sidecar.watch.culprit import Culprit
from tinker_sidecar.watch.gil_profile import GilProfile


def culprit(function: str, line: int = 1, thread: str = "t") -> Culprit:
    return Culprit("holds the GIL", f"{function}() at a.py:{line}", thread, ("a.py", function))


def test_the_lines_of_a_function_add_up_and_the_dearest_one_stands_for_it() -> None:
    profile = GilProfile()
    for line, seconds in [(1, 1.0), (2, 1.0), (3, 2.5), (1, 1.0)]:
        profile.add(culprit("spin", line), seconds)
    profile.add(culprit("grade", thread="grader"), 2.5)
    assert profile.holders(9, starved=10.0) == [
        GilHolder(place="spin() at a.py:3", thread="t", seconds=5.5, share=0.55),
        GilHolder(place="grade() at a.py:1", thread="grader", seconds=2.5, share=0.25),
    ]
    assert len(profile.holders(1, starved=10.0)) == 1


def test_a_share_is_one_at_most_and_nothing_of_nothing() -> None:
    profile = GilProfile()
    profile.add(culprit("spin"), 2.0)
    assert [profile.holders(1, starved)[0].share for starved in (0.0, 1.0, 8.0)] == [0.0, 1.0, 0.25]


def test_of_too_many_functions_the_cheapest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gil_profile, "_MOST_FUNCTIONS", 3)
    profile = GilProfile()
    for number in range(1, 10):
        profile.add(culprit(f"f{number}"), number)
    assert [seconds for seconds, _ in profile.dearest()] == [9, 8, 7]
