"""A look at a program tells who holds its GIL, or blocks its event loop; or why there is no telling."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.reliability.programs import permitted
from tests.waiting import has_ended, wait_until
from tests.watch.gil_programs import BASE_PYTHON, HOGS, REGEX_FOR_EVER, VERSIONS, line_of, python, running
from tinker_sidecar.watch.culprit import Culprit, find_culprit
from tinker_sidecar.watch.py_spy import CannotLook, look_at

ROOT = Path(__file__).parents[2]


def culprit(pid: int) -> Culprit | None:
    """Who holds up process `pid` now; None as well where its threads change faster than they can be read."""
    try:
        return find_culprit(asyncio.run(look_at(pid)))
    except CannotLook as reason:
        if reason.lasts:
            raise
        return None


@pytest.fixture(params=VERSIONS)
def interpreter(request: pytest.FixtureRequest) -> str:
    """Each Python that there is here, of those that are supported."""
    found = python(request.param)
    if found is None:
        pytest.skip(f"no Python {request.param} here")
    return found


def test_a_c_function_that_holds_the_gil(tmp_path: Path, interpreter: str) -> None:
    with running(tmp_path, "grader.py", REGEX_FOR_EVER, interpreter) as program:
        seen: list[Culprit | None] = []

        def is_seen() -> bool:
            seen.append(culprit(program.pid))
            return seen[-1] is not None and seen[-1].thread == "grader"

        wait_until(is_seen, show=lambda: seen)
        line = line_of(REGEX_FOR_EVER, "re.match")
        assert str(seen[-1]) == f'GIL held by grade() at grader.py:{line} (re.match), thread "grader"'


SLEEPS_WITH_THE_GIL = """
import ctypes, threading

def load():
    ctypes.PyDLL(None).sleep(600)

threading.Thread(target=load, name="loader").start()
"""


def test_a_c_function_that_holds_the_gil_and_sleeps(tmp_path: Path, interpreter: str) -> None:
    place = f"load() at agent.py:{line_of(SLEEPS_WITH_THE_GIL, 'PyDLL')}"
    with running(tmp_path, "agent.py", SLEEPS_WITH_THE_GIL, interpreter) as program:
        wait_until(lambda: str(culprit(program.pid)) == f'GIL held by {place}, thread "loader"')


def test_threads_that_compete_for_the_gil(tmp_path: Path, interpreter: str) -> None:
    functions = {"add", "join", "sort", "count"}
    with running(tmp_path, "hogs.py", HOGS, interpreter) as program:
        seen: set[str] = set()

        def are_all_seen() -> bool:
            found = culprit(program.pid)
            if found is not None and found.thread.startswith("hog"):  # The others start them.
                name = found.place.partition("()")[0]
                assert (found.does, found.thread) == ("holds the GIL", f"hog {name}")
                assert found.place.startswith(f"{name}() at hogs.py:")
                seen.add(name)
            return seen == functions

        wait_until(are_all_seen, show=lambda: seen)


SLEEPS = """
import asyncio, time

async def rollout():
    time.sleep(600)

async def main():
    await asyncio.gather(rollout())

asyncio.run(main())
"""

SLEEPS_IN_UVLOOP = SLEEPS.replace("asyncio, time", "asyncio, time, uvloop").replace(
    "asyncio.run(", "uvloop.run("
)

SLEEPS_IN_TRIO = """
import time, trio

async def rollout():
    time.sleep(600)

async def main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rollout)

trio.run(main)
"""


def test_a_blocked_event_loop(tmp_path: Path, interpreter: str) -> None:
    assert_blocked(tmp_path, SLEEPS, interpreter)


@pytest.mark.parametrize("code", [SLEEPS_IN_UVLOOP, SLEEPS_IN_TRIO], ids=["uvloop", "trio"])
def test_other_blocked_event_loops(tmp_path: Path, code: str) -> None:
    assert_blocked(tmp_path, code, sys.executable)


def assert_blocked(folder: Path, code: str, interpreter: str) -> None:
    place = f"rollout() at agent.py:{line_of(code, 'time.sleep')}"
    with running(folder, "agent.py", code, interpreter) as program:
        seen: list[str] = []

        def is_seen() -> bool:
            seen.append(str(culprit(program.pid)))
            return seen[-1] == f'event loop blocked by {place}, thread "MainThread"'

        wait_until(is_seen, show=lambda: seen)


@pytest.mark.parametrize(
    "code", [SLEEPS, SLEEPS_IN_UVLOOP, SLEEPS_IN_TRIO], ids=["asyncio", "uvloop", "trio"]
)
def test_nobody_is_to_blame_if_an_event_loop_merely_waits(tmp_path: Path, code: str) -> None:
    code = code.replace("time.sleep", "await trio.sleep" if "trio" in code else "await asyncio.sleep")
    code = code.replace("    await ", "    print(flush=True)\n    await ", 1)
    with running(tmp_path, "agent.py", code) as program:
        assert program.stdout is not None
        program.stdout.readline()
        wait_until(lambda: culprit(program.pid) is None)
        assert [culprit(program.pid) for _ in range(3)] == [None] * 3


SYMPY = """
import threading
import sympy

def grade():
    x = sympy.Symbol("x")
    while True:
        sympy.simplify(sympy.sin(x) ** 2 + sympy.cos(x) ** 2 + x)

threading.Thread(target=grade, name="grader").start()
"""


def test_what_a_package_was_called_by(tmp_path: Path) -> None:
    caller = f"called by grade() at grader.py:{line_of(SYMPY, 'sympy.simplify')}"
    with running(tmp_path, "grader.py", SYMPY) as program:
        seen: list[Culprit | None] = []

        def is_seen() -> bool:
            seen.append(culprit(program.pid))
            return seen[-1] is not None and seen[-1].place.endswith(caller)

        wait_until(is_seen, show=lambda: seen)
        assert seen[-1] is not None
        assert " at sympy/" in seen[-1].place


# Looks once, as told on the command line, and prints what it sees or why it sees nothing.
LOOK = """
import asyncio, sys
from tinker_sidecar.watch import py_spy
from tinker_sidecar.watch.culprit import find_culprit
py_spy._PATIENCE = 1.0 if "impatiently" in sys.argv else 30.0
try:
    print(find_culprit(asyncio.run(py_spy.look_at(int(sys.argv[1])))))
except py_spy.CannotLook as reason:
    print(reason.lasts, reason)
"""


def look(pid: int, *arguments: str, before: tuple[str, ...] = (), path: str | None = None) -> str:
    """What a process sees that `before` starts; with a `path`, one that has no environment's scripts."""
    environment = dict(os.environ)
    interpreter = sys.executable
    if path is not None:
        interpreter = BASE_PYTHON
        environment |= {"PATH": path, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run(
        [*before, interpreter, "-c", LOOK, str(pid), *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


beside_no_scripts = pytest.mark.skipif(
    (Path(BASE_PYTHON).parent / "py-spy").exists(), reason="the base interpreter has a py-spy, too"
)


@beside_no_scripts
def test_it_is_not_installed() -> None:
    said = look(os.getpid(), path="/nowhere")
    assert said == 'True py-spy is not installed: pip install "tinker-sidecar[who]"'


# As far as it can be had for one process: from then on only who has the capability SYS_PTRACE may look.
SECRETIVE = """
import ctypes, time
ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
print(flush=True)
time.sleep(600)
"""


def test_it_is_not_permitted(tmp_path: Path) -> None:
    powerless = ("setpriv", "--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace")
    if os.getuid() != 0:
        powerless = ()
    elif not permitted(*powerless, "true"):
        pytest.skip("needs setpriv, to do without root's rights")
    with running(tmp_path, "secretive.py", SECRETIVE) as program:
        assert program.stdout is not None
        program.stdout.readline()
        assert look(program.pid, before=powerless).startswith(
            "True py-spy is not permitted to look at this program"
        )


@beside_no_scripts
@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo '[{'", "False cannot make sense of what py-spy says: "),
        ("printf '\\377'", "False cannot make sense of what py-spy says: "),
        ("echo out of luck >&2; exit 1", "False py-spy failed: out of luck"),
        ("kill -s SEGV $$", "False py-spy failed:"),
    ],
)
def test_it_does_not_work(tmp_path: Path, script: str, said: str) -> None:
    install(tmp_path, script)
    assert look(os.getpid(), path=f"{tmp_path}:/bin").startswith(said)


@beside_no_scripts
def test_it_cannot_be_run(tmp_path: Path) -> None:
    install(tmp_path, "").write_text("#!/nowhere/python\n")
    assert look(os.getpid(), path=str(tmp_path)).startswith(f"True cannot run {tmp_path}/py-spy: ")


@beside_no_scripts
def test_it_takes_too_long(tmp_path: Path) -> None:
    """And is ended, whatever it does."""
    install(tmp_path, f"echo $$ >{tmp_path}/pid; exec sleep 600")
    assert look(os.getpid(), "impatiently", path=f"{tmp_path}:/bin") == "True py-spy took longer than 1 s"
    wait_until(lambda: has_ended(int((tmp_path / "pid").read_text())))


def install(folder: Path, script: str) -> Path:
    """A command called py-spy."""
    path = folder / "py-spy"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_the_program_has_ended(tmp_path: Path) -> None:
    with running(tmp_path, "nothing.py", "") as program:
        program.wait()
        with pytest.raises(CannotLook) as reason:
            asyncio.run(look_at(program.pid))
        assert not reason.value.lasts


def test_nothing_is_left_of_a_look_that_is_cancelled(tmp_path: Path) -> None:
    async def main(pid: int) -> None:
        task = asyncio.create_task(look_at(pid))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with running(tmp_path, "grader.py", textwrap.dedent(REGEX_FOR_EVER)) as program:
        asyncio.run(main(program.pid))  # tests/leaks.py sees the rest.
        program.send_signal(signal.SIGKILL)
