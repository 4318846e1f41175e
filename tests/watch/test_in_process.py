"""In process the first hold is told as it is seen right after; then a process beside the program looks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import has_ended, wait_until
from tests.watch.gil_programs import WAITED, line_of, running

# An engine's loop on a thread, and the program beside it; `hold()` holds the GIL for seconds.
PROGRAM = """
import asyncio, logging, os, re, sys, threading, time
import psutil
from tinker_client.connection.gil_watcher import GilWatcher

told = []
logging.basicConfig(format="%(message)s", stream=sys.stdout)
logging.getLogger().handlers[0].addFilter(lambda record: told.append(record) or True)
busy = False

async def engine():
    global watcher, loop, ended
    watcher, loop, ended = GilWatcher(lambda: busy, lambda: None), asyncio.get_running_loop(), asyncio.Event()
    task = asyncio.create_task(watcher.run())
    begun.set()
    await ended.wait()
    watcher.close()
    await task

begun = threading.Event()
thread = threading.Thread(target=lambda: asyncio.run(engine()))
thread.start()
begun.wait()

def take(length):
    begin = time.thread_time()
    re.match("(a+)+$", "a" * length + "b")
    return time.thread_time() - begin

length = 10
while take(length) < 0.1:
    length += 1

def hold(is_busy=True):
    global busy
    busy = is_busy
    time.sleep(0.5)
    re.match("(a+)+$", "a" * (length + 5) + "b")  # holding

def children():
    return [child.pid for child in psutil.Process().children()]

def say(*words):
    print(*words, flush=True)
"""

TWICE = (
    PROGRAM
    + """
say(len(children()))
hold()
while not children():
    time.sleep(0.01)
say("watched by", *children())
time.sleep(1)
hold()
while not watcher.holders() or len(told) < 2:
    time.sleep(0.01)
say(watcher.holders()[0].place)
THEN
loop.call_soon_threadsafe(ended.set)
thread.join()
say(len(children()))
"""
)


def lines(program: subprocess.Popen[bytes]) -> list[str]:
    assert program.stdout is not None
    return program.stdout.read().decode().splitlines()


def test_both_holds_are_told_with_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    place = f"hold() at grader.py:{line_of(PROGRAM, '# holding')} (re.match)"
    with running(tmp_path, "grader.py", TWICE.replace("THEN", "")) as program:
        before, first, watched_by, *rest = lines(program)
    assert before == "0"
    told = rf'{WAITED}; GIL held by {re.escape(place)}, thread "MainThread"'
    ran = rf'its thread "MainThread" ran meanwhile, and was at {re.escape(place)} right after'
    if os.environ.get("TINKER_SIDECAR_PORTABLE") == "1":  # There threads have no clocks that could be asked.
        ran = "nobody could look who held its GIL"
    assert re.fullmatch(f"{WAITED}; {ran}", first)
    assert has_ended(int(watched_by.removeprefix("watched by ")))
    assert re.fullmatch(told, rest[0])
    assert rest[1:] == [place, "0"]


def test_it_ends_with_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    with running(tmp_path, "grader.py", TWICE.replace("THEN", "time.sleep(600)")) as program:
        assert program.stdout is not None
        line = next(line for line in program.stdout if line.startswith(b"watched by"))
        program.kill()
        wait_until(lambda: has_ended(int(line.split()[-1])))


def test_a_watcher_that_dies_is_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    code = PROGRAM + (
        "hold()\n"
        "while not children():\n    time.sleep(0.01)\n"
        "os.kill(children()[0], 9)\n"
        "time.sleep(1); hold(); time.sleep(1)\n"
        "loop.call_soon_threadsafe(ended.set); thread.join()\n"
    )
    with running(tmp_path, "grader.py", code) as program:
        said = lines(program)
    assert len(said) == 2
    assert said[1].startswith("the process that tells who holds the GIL was killed by SIGKILL; ")


def test_nobody_watches_an_engine_that_has_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    code = PROGRAM + (
        "hold(is_busy=False); time.sleep(0.5); say(len(children()))\n"
        "loop.call_soon_threadsafe(ended.set); thread.join()\n"
    )
    with running(tmp_path, "grader.py", code) as program:
        assert lines(program) == ["0"]


def test_it_is_not_for_people() -> None:
    command = [sys.executable, "-m", "tinker_sidecar.watch"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert "not by hand" in done.stderr
