"""A process notices the end of its parent, with and without pidfd."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

PATIENCE = 30.0

# Says on stdout that it watches, and that its parent has gone.
WATCHER = """
import asyncio, os, sys
from tinker_sidecar.processes.parent import watch_parent

pid, or_stdin, pidfd = map(int, sys.argv[1:])
if not pidfd:
    del os.pidfd_open  # As where it is forbidden; the portable twin never looks for it.

async def main():
    gone = asyncio.Event()
    watch_parent(pid, gone.set, or_stdin=bool(or_stdin))
    print("watching", flush=True)
    await gone.wait()
    print("gone", flush=True)

asyncio.run(main())
"""

# Starts it, with a pipe to its stdin, and has a forked child that holds that pipe open, too, if told to.
PARENT = """
import os, subprocess, sys, time
watcher, sibling, *options = sys.argv[1:]
process = subprocess.Popen([sys.executable, "-c", watcher, str(os.getpid()), *options], stdin=subprocess.PIPE)
if sibling == "sibling" and os.fork() == 0:
    sys.stdin.read()
    os._exit(0)
time.sleep(600)
"""

both = pytest.mark.parametrize("pidfd", ["1", "0"], ids=["pidfd", "no pidfd"])


@contextmanager
def watched(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A parent whose child watches it; the child's words come from the parent's stdout."""
    with saying_that_it_watches(PARENT, WATCHER, *arguments) as parent:
        yield parent


@contextmanager
def watching(pid: int, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A child of this process, which watches process `pid`."""
    with saying_that_it_watches(WATCHER, str(pid), *options) as child:
        yield child


@contextmanager
def saying_that_it_watches(code: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"watching\n"
            yield process
        finally:
            process.kill()


def assert_goes_on(child: subprocess.Popen[bytes]) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.3)


@both
@pytest.mark.parametrize("or_stdin", ["1", "0"], ids=["or stdin", ""])
def test_the_parent_is_killed(or_stdin: str, pidfd: str) -> None:
    with watched("alone", or_stdin, pidfd) as parent:
        parent.kill()
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"gone\n"


@both
@pytest.mark.parametrize("or_stdin", ["1", "0"], ids=["or stdin", ""])
def test_a_sibling_that_holds_its_stdin_open_hides_nothing(or_stdin: str, pidfd: str) -> None:
    with watched("sibling", or_stdin, pidfd) as parent:
        parent.kill()
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"gone\n"


@both
def test_stdin_that_ends_counts_where_it_is_told_to(pidfd: str) -> None:
    with watching(os.getpid(), "1", pidfd) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"what is said on it does not\n")
        child.stdin.flush()
        assert_goes_on(child)
        child.stdin.close()
        assert child.stdout.readline() == b"gone\n"


@both
def test_stdin_that_ends_does_not_count_where_it_is_not(pidfd: str) -> None:
    with watching(os.getpid(), "0", pidfd) as child:
        assert child.stdin is not None
        child.stdin.close()
        assert_goes_on(child)


@both
@pytest.mark.parametrize("or_stdin", ["1", "0"], ids=["or stdin", ""])
def test_a_parent_that_had_gone_before(or_stdin: str, pidfd: str) -> None:
    """Its pid is another process's by now: that of this test's parent."""
    with watching(os.getppid(), or_stdin, pidfd) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"gone\n"
        assert child.wait(PATIENCE) == 0


def test_a_parent_that_had_gone_before_and_whose_pid_is_nobodys() -> None:
    with subprocess.Popen(["true"]) as nobody:
        nobody.wait()
    with watching(nobody.pid, "0", "1") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"gone\n"


COUNTING = """
import asyncio, os, sys
from tinker_sidecar.processes.parent import watch_parent

async def main():
    calls = []
    watch_parent(os.getppid(), lambda: calls.append("gone"), or_stdin=True)
    while not calls:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    print(calls)

asyncio.run(main())
"""


def test_the_end_of_stdin_is_told_once() -> None:
    """What has ended stays readable, and a loop that goes on would be told in each of its turns."""
    command = [sys.executable, "-c", COUNTING]
    done = subprocess.run(command, input="", capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "['gone']\n")
