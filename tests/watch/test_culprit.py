"""Who is to blame, told from what threads are doing."""

from __future__ import annotations

from pathlib import Path

import pytest

import tinker_client
from tinker_sidecar.watch.culprit import find_culprit
from tinker_sidecar.watch.py_spy import SeenFrame, SeenThread

LIBRARY = "/usr/lib/python3.12"
SITE = "/home/me/venv/lib/python3.12/site-packages"
OURS = str(Path(tinker_client.__file__).parent)


def frame(call: str) -> SeenFrame:
    """`function path:line`; the short file name is the last two parts of a path in a package."""
    name, _, where = call.partition(" ")
    path, _, line = where.rpartition(":")
    _, installed, rest = path.partition("-packages/")
    return SeenFrame(name, path, int(line), rest if installed else path.rpartition("/")[2])


def thread(*calls: str, owns_gil: bool = True, name: str | None = "t") -> SeenThread:
    return SeenThread(owns_gil, [frame(call) for call in calls], name, 4711)


def place(*calls: str) -> str:
    culprit = find_culprit([thread(*calls)])
    assert culprit is not None
    return culprit.place


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        (["grade /me/grader.py:41"], "grade() at grader.py:41"),
        (["match {L}/re/__init__.py:166", "grade /me/grader.py:41"], "grade() at grader.py:41 (re.match)"),
        (
            ["scan {L}/json/scanner.py:9", "loads {L}/json/__init__.py:8", "grade /me/grader.py:41"],
            "grade() at grader.py:41 (json.loads)",
        ),
        (
            ["join <frozen posixpath>:90", "grade /me/grader.py:41"],
            "grade() at grader.py:41 (posixpath.join)",
        ),
        (["<lambda> /me/grader.py:41"], "<lambda> at grader.py:41"),
        (["<module> <string>:1"], "<module> at <string>:1"),
        (["Grader.grade /me/grader.py:41"], "Grader.grade() at grader.py:41"),
        (["main.<locals>.grade /me/grader.py:41"], "grade() at grader.py:41"),
        (["main.<locals>.<lambda> /me/grader.py:41"], "<lambda> at grader.py:41"),
        (["f /tmp/ipykernel_1/1.py:0"], "f() at 1.py"),
        (["wait {L}/threading.py:5", "run {L}/threading.py:7"], "wait() at threading.py:5"),
        (["result {O}/futures.py:9", "rollout /me/train.py:3"], "rollout() at train.py:3 (futures.result)"),
        (
            ["walk {S}/sympy/core/a.py:1", "simplify {S}/sympy/b.py:2", "grade /me/grader.py:41"],
            "walk() at sympy/core/a.py:1, called by grade() at grader.py:41",
        ),
        (
            ["walk {S}/sympy/a.py:1", "run {L}/concurrent/futures/thread.py:58", "run {L}/threading.py:7"],
            "walk() at sympy/a.py:1",
        ),
        (
            ["walk {S}/sympy/a.py:1", "grade {S}/rewards/math.py:5", "<module> /me/train.py:3"],
            "walk() at sympy/a.py:1, called by grade() at rewards/math.py:5",
        ),
        (["f /usr/lib/python3/dist-packages/rewards.py:5"], "f() at rewards.py:5"),
    ],
)
def test_the_place_is_named(calls: list[str], expected: str) -> None:
    assert place(*(call.format(L=LIBRARY, S=SITE, O=OURS) for call in calls)) == expected


def test_the_lines_of_a_function_are_one_matter() -> None:
    first, second = (find_culprit([thread(f"grade /me/grader.py:{line}")]) for line in (41, 42))
    other = find_culprit([thread("grade /me/other.py:41")])
    assert first is not None
    assert second is not None
    assert other is not None
    assert first.place != second.place
    assert first.function == second.function != other.function


def test_what_a_package_does_for_one_caller_is_one_matter() -> None:
    caller = "grade /me/grader.py:41"
    first, second = (find_culprit([thread(f"{name} {SITE}/sympy/a.py:1", caller)]) for name in ("f", "g"))
    assert first is not None
    assert second is not None
    assert first.function == second.function


def test_a_thread_without_a_name_has_a_number() -> None:
    culprit = find_culprit([thread("f /me/a.py:1", name=None)])
    assert str(culprit) == 'GIL held by f() at a.py:1, thread "4711"'


def test_who_does_without_the_gil_is_not_to_blame() -> None:
    assert find_culprit([thread("f /me/a.py:1", owns_gil=False)]) is None


LOOP = [
    f"Handle._run {LIBRARY}/asyncio/events.py:80",
    f"BaseEventLoop._run_once {LIBRARY}/asyncio/base_events.py:1909",
]
MAIN = [f"BaseEventLoop.run_forever {LIBRARY}/asyncio/base_events.py:603", "<module> /me/agent.py:9"]


def test_what_runs_on_an_event_loop_blocks_it_if_nobody_has_the_gil() -> None:
    blocked = thread("rollout /me/agent.py:5", *LOOP, *MAIN, owns_gil=False)
    assert str(find_culprit([blocked])) == 'event loop blocked by rollout() at agent.py:5, thread "t"'
    holder = thread("f /me/a.py:1", name="holder")
    assert str(find_culprit([blocked, holder])) == 'GIL held by f() at a.py:1, thread "holder"'


def test_an_event_loop_that_waits_blocks_nothing() -> None:
    waiting = thread(f"select {LIBRARY}/selectors.py:468", LOOP[1], *MAIN, owns_gil=False)
    assert find_culprit([waiting]) is None


def test_a_thread_that_runs_no_python() -> None:
    assert str(find_culprit([thread()])) == 'GIL held by code that is not Python, thread "t"'
    assert find_culprit([thread(owns_gil=False)]) is None
    assert find_culprit([]) is None
