"""A program that does not run is looked at, and its log says who was to blame; the programs are real."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.waiting import PATIENCE
from tests.watch.gil_programs import BASE_PYTHON, VERSIONS, WAITED, line_of, python, running
from tinker_sidecar.watch import gil_warnings
from tinker_sidecar.watch.feed import Feed
from tinker_sidecar.watch.gil_watch import GilWatch


@pytest.fixture(autouse=True)
def _nothing_to_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the looks of the tests before, or what their programs have cost."""
    monkeypatch.setattr(GilWatch, "_paid_at", 0.0)


ALIVE = """
import os, re, threading, time

def give_signs_of_life():
    while True:
        os.write(1, b"+")
        time.sleep(0.05)

threading.Thread(target=give_signs_of_life, daemon=True, name="alive").start()
"""

# Finds out how long a text takes for a regex, and has one that takes 32 times as long.
HOLDS = (
    """
import re, time

def take(length):
    begin = time.thread_time()
    re.match("(a+)+$", "a" * length + "b")  # calibrating
    return time.thread_time() - begin

def grade(length):
    re.match("(a+)+$", "a" * length + "b")  # holding

length = 10
while take(length) < 0.1:
    length += 1
"""
    + ALIVE
    + """
for _ in range(TIMES):
    threading.Thread(target=grade, args=[length + 5], name="grader").start()
    time.sleep(0.5)
time.sleep(600)
"""
)

HOGS = (
    ALIVE
    + """
def add():
    while True:
        sum(range(100))

def join():
    while True:
        " ".join(map(str, range(100)))

def sort():
    while True:
        sorted(range(100, 0, -1))

def count():
    number = 0
    while True:
        number += 1

for function in (add, join, sort, count):
    threading.Thread(target=function, name=f"hog {function.__name__}").start()
"""
)

BLOCKS = """
import asyncio, os, time

async def give_signs_of_life():
    while True:
        os.write(1, b"+")
        await asyncio.sleep(0.05)

async def rollout():
    await asyncio.sleep(0.2)
    time.sleep(4)

async def main():
    await asyncio.gather(give_signs_of_life(), rollout())

asyncio.run(main())
"""


@pytest.fixture(params=VERSIONS)
def interpreter(request: pytest.FixtureRequest) -> str:
    """Each Python that there is here, of those that are supported."""
    found = python(request.param)
    if found is None:
        pytest.skip(f"no Python {request.param} here")
    return found


async def watch(program: subprocess.Popen[bytes], until: Callable[[GilWatch], bool]) -> GilWatch:
    """Watch a program, which gives signs of life on its standard output, until that is so."""
    assert program.stdout is not None
    loop, feed, descriptor = asyncio.get_running_loop(), Feed(), program.stdout.fileno()
    loop.add_reader(descriptor, lambda: feed.take(os.read(descriptor, 4096)))
    watch = GilWatch(program.pid, feed.waiting_since, feed.starved)
    task = asyncio.create_task(watch.run())
    try:
        async with asyncio.timeout(PATIENCE):
            while not until(watch):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    finally:
        loop.remove_reader(descriptor)
        task.cancel()
    return watch


def test_a_hold_is_told_once_it_is_over(
    tmp_path: Path, interpreter: str, caplog: pytest.LogCaptureFixture
) -> None:
    code = HOLDS.replace("TIMES", "1")
    with running(tmp_path, "grader.py", code, interpreter) as program:
        watched = asyncio.run(watch(program, lambda _: bool(caplog.messages)))
    place = f"grade() at grader.py:{line_of(code, '# holding')} (re.match)"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert re.fullmatch(
        rf'{WAITED}; GIL held by {re.escape(place)}, thread "grader"',
        record.getMessage(),
    )
    (holder,) = watched.holders()
    assert (holder.place, holder.thread) == (place, "grader")
    assert holder.share > 0.5
    assert holder.seconds > 1


@pytest.mark.slow
def test_threads_that_compete_for_the_gil(
    tmp_path: Path, interpreter: str, caplog: pytest.LogCaptureFixture
) -> None:
    with running(tmp_path, "hogs.py", HOGS, interpreter) as program:
        watched = asyncio.run(watch(program, lambda it: bool(caplog.messages) and len(it.holders()) > 1))
    (line,) = caplog.messages
    assert re.match(rf"{WAITED}; GIL held by ", line)
    hogs = r"(add|join|sort|count)\(\) at hogs\.py:\d+"
    assert re.findall(hogs + r', thread "hog \1"', line)
    assert all(re.fullmatch(hogs, holder.place) for holder in watched.holders())


def test_a_blocked_event_loop(tmp_path: Path, interpreter: str, caplog: pytest.LogCaptureFixture) -> None:
    with running(tmp_path, "agent.py", BLOCKS, interpreter) as program:
        asyncio.run(watch(program, lambda _: bool(caplog.messages)))
    (line,) = caplog.messages
    place = f"rollout() at agent.py:{line_of(BLOCKS, 'time.sleep(4)')}"
    assert line.endswith(f'for this program; event loop blocked by {place}, thread "MainThread"')


def test_a_program_that_was_stopped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def stop_for_a_while(program: subprocess.Popen[bytes]) -> None:
        task = asyncio.create_task(watch(program, lambda _: bool(caplog.messages)))
        await asyncio.sleep(0.5)
        program.send_signal(signal.SIGSTOP)
        await asyncio.sleep(2)
        program.send_signal(signal.SIGCONT)
        await task

    with running(tmp_path, "program.py", ALIVE + "time.sleep(600)") as program:
        asyncio.run(stop_for_a_while(program))
    (line,) = caplog.messages
    assert line.endswith("for this program; it was stopped, by SIGSTOP or a debugger")


def test_what_happens_within_a_minute_is_told_by_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the minute has 12 s."""
    monkeypatch.setattr(gil_warnings, "_EVERY", 12.0)
    code = HOLDS.replace("TIMES", "3")
    with running(tmp_path, "grader.py", code) as program:
        asyncio.run(watch(program, lambda _: len(caplog.messages) == 2))
    first, second = caplog.messages
    place = f"grade() at grader.py:{line_of(code, '# holding')} (re.match)"
    assert first.startswith("results waited ")
    assert place in first
    assert place in second


@pytest.fixture
def without_py_spy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither scripts beside the interpreter nor any on `PATH`."""
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    monkeypatch.setattr("sysconfig.get_path", lambda _: "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")


@pytest.mark.usefixtures("without_py_spy")
def test_without_py_spy_the_warning_says_once_how_to_get_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gil_warnings, "_EVERY", 1.0)
    code = HOLDS.replace("TIMES", "3")
    with running(tmp_path, "grader.py", code, BASE_PYTHON) as program:
        watched = asyncio.run(watch(program, lambda _: len(caplog.messages) == 2))
    first, second = caplog.messages
    advice = 'py-spy is not installed: pip install "tinker-sidecar[who]"'
    assert re.fullmatch(rf"{WAITED}; who holds its GIL is not known: {re.escape(advice)}", first)
    assert re.fullmatch(WAITED, second)
    assert watched.holders() == []


def test_nobody_is_looked_at_while_nothing_waits(tmp_path: Path) -> None:
    async def count_children(program: subprocess.Popen[bytes]) -> None:
        watching = GilWatch(program.pid, lambda: None, lambda: 0.0)
        before = psutil.Process().children()
        task = asyncio.create_task(watching.run())
        for _ in range(200):
            assert psutil.Process().children() == before
            await asyncio.sleep(0.01)
        task.cancel()

    with running(tmp_path, "hogs.py", HOGS) as program:
        asyncio.run(count_children(program))
