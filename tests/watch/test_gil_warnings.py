"""When the log tells of results that wait for the program, and in which words."""

from __future__ import annotations

import pytest

from tinker_sidecar.watch.culprit import Culprit
from tinker_sidecar.watch.gil_warnings import GilWarnings


def culprit(name: str) -> Culprit:
    return Culprit("holds the GIL", f"{name}() at grader.py:41", name, ("grader.py", name))


def hold(warnings: GilWarnings, begin: float, seconds: float, *, starved: float, name: str = "grade") -> None:
    """A hold from `begin` on, before which results had waited for `starved` seconds."""
    warnings.begin(begin, starved)
    warnings.saw(culprit(name), seconds)
    warnings.tell_if_due(begin + seconds, starved + seconds, holds=False, goes_on=False)


def test_a_hold_is_told_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    warnings = GilWarnings()
    warnings.begin(100.0, 0.0)
    warnings.saw(culprit("grade"), 2.0)
    warnings.tell_if_due(102.0, 2.0, holds=True, goes_on=False)
    assert caplog.messages == []
    warnings.saw(culprit("grade"), 10.8)
    warnings.tell_if_due(112.8, 12.8, holds=False, goes_on=False)
    warnings.tell_if_due(113.0, 12.8, holds=False, goes_on=False)
    assert caplog.messages == [
        'results waited 12.8 s for this program; GIL held by grade() at grader.py:41, thread "grade"'
    ]


def test_holds_within_a_minute_are_told_together_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    warnings = GilWarnings()
    hold(warnings, 100.0, 2.0, starved=0.0)
    hold(warnings, 110.0, 2.0, starved=2.0)
    hold(warnings, 120.0, 6.0, starved=4.0, name="simplify")
    warnings.tell_if_due(161.9, 10.0, holds=False, goes_on=False)
    assert len(caplog.messages) == 1
    warnings.tell_if_due(162.0, 10.0, holds=False, goes_on=False)
    assert caplog.messages[1] == (
        "results waited 8.0 s of the last 52.0 s for this program; "
        'GIL held by simplify() at grader.py:41, thread "simplify" (75 %); '
        'GIL held by grade() at grader.py:41, thread "grade" (25 %)'
    )


def test_a_hold_that_does_not_end_is_told_once_a_minute_and_at_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    warnings = GilWarnings()
    for second in range(150):
        warnings.begin(100.0, 0.0)
        warnings.tell_if_due(100.0 + second, second, holds=True, goes_on=False)
    warnings.tell_if_due(250.0, 150.0, holds=False, goes_on=False)
    waited = ["60.0", "120.0", "150.0"]
    assert caplog.messages == [f"results waited {seconds} s for this program" for seconds in waited]


def test_many_short_waits_are_told_after_ten_seconds_and_then_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    warnings = GilWarnings()
    told = []
    for second in range(140):
        warnings.begin(100.0 + second, second / 2)
        warnings.saw(culprit("spin"), 0.5)
        before = len(caplog.messages)
        warnings.tell_if_due(101.0 + second, (second + 1) / 2, holds=False, goes_on=True)
        told += [second + 1] * (len(caplog.messages) - before)
    assert told == [10, 70, 130]
    assert caplog.messages[1] == (
        "results waited 30.0 s of the last 60.0 s for this program; "
        'GIL held by spin() at grader.py:41, thread "spin"'
    )


def test_three_are_named_at_most_and_none_that_matters_little(caplog: pytest.LogCaptureFixture) -> None:
    warnings = GilWarnings()
    warnings.begin(100.0, 0.0)
    for name, seconds in {"a": 40.0, "b": 30.0, "c": 4.0, "d": 20.0}.items():
        warnings.saw(culprit(name), seconds)
    warnings.tell_if_due(200.0, 94.0, holds=False, goes_on=False)
    warnings.begin(300.0, 94.0)
    for name, seconds in {"a": 97.0, "b": 3.0}.items():
        warnings.saw(culprit(name), seconds)
    warnings.tell_if_due(400.0, 194.0, holds=False, goes_on=False)
    many, few = caplog.messages
    assert [name for name in "abcd" if f"{name}() at" in many] == ["a", "b", "d"]
    assert [name for name in "abcd" if f"{name}() at" in few] == ["a"]


def test_why_nobody_is_named(caplog: pytest.LogCaptureFixture) -> None:
    warnings = GilWarnings()
    for number in range(4):
        warnings.begin(number * 100.0, number)
        warnings.advise("py-spy", "it is not installed")
        if number == 3:
            warnings.remark("it was stopped")
        warnings.tell_if_due(number * 100.0 + 1, number + 1, holds=False, goes_on=False)
    assert caplog.messages == [
        "results waited 1.0 s for this program; who holds its GIL is not known: it is not installed",
        "results waited 1.0 s for this program",
        "results waited 1.0 s for this program",
        "results waited 1.0 s for this program; it was stopped",
    ]
