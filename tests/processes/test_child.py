"""A child process: what it is given, its first line, its last words, its end."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import psutil
import pytest

from tests.processes.conftest import Start
from tinker_sidecar.processes.child import ChildProcess, last_words

PATIENCE = 30.0
STAY = "\nimport time; time.sleep(600)"


@pytest.mark.parametrize(
    "noise",
    [
        "print('good morning')",
        "print('good morning', end='')",
        "print('READ')",
        "print('x' * 10_000, flush=True)",
        "print()",
        "import time; print('READY', end='', flush=True); time.sleep(0.1)",
    ],
)
def test_the_first_line_is_found_behind_what_else_is_printed(start: Start, noise: str) -> None:
    child = start(f"{noise}\nprint('READY 1', flush=True)\nprint('READY 2', flush=True){STAY}")
    line = child.first_line(b"READY", PATIENCE)
    assert line in {b"READY 1", b"READYREADY 1"}


def test_the_first_line_comes_whole(start: Start) -> None:
    child = start(
        f"import time; print('READY ', end='', flush=True); time.sleep(0.2); print('now', flush=True){STAY}"
    )
    assert child.first_line(b"READY", PATIENCE) == b"READY now"


@pytest.mark.parametrize(
    "code", ["", "print('not yet')", "print('READY', end='')", "import os; os.close(1)" + STAY]
)
def test_one_that_closes_its_stdout_without_such_a_line(start: Start, code: str) -> None:
    assert start(code).first_line(b"READY", PATIENCE) == b""


def test_one_that_takes_too_long(start: Start) -> None:
    child = start(f"print('not yet', flush=True){STAY}")
    with pytest.raises(TimeoutError):
        child.first_line(b"READY", 0.1)
    assert child.how_it_ended(0) is None


def test_it_hears_what_is_written(start: Start) -> None:
    child = start("print('heard', input(), flush=True)")
    child.write(b"a secret\n")
    assert child.first_line(b"heard", PATIENCE) == b"heard a secret"


def test_writing_to_one_that_has_ended(start: Start) -> None:
    child = start("")
    assert child.how_it_ended(PATIENCE) == "exited with status 0"
    child.write(b"too late\n")


SHOW = """
import os, sys
print("shown", os.environ.get("GIVEN"), os.environ.get("KEPT"), sys.argv[1:], flush=True)
"""


def test_its_arguments_and_environment(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIVEN", "of this process")
    assert start(SHOW, "an argument").first_line(b"shown", PATIENCE) == (
        b"shown of this process None ['an argument']"
    )
    monkeypatch.setenv("KEPT", "own")
    child = start(SHOW, variables={"GIVEN": "given"})
    assert child.first_line(b"shown", PATIENCE) == b"shown given own []"


def test_the_keys_of_this_process_are_not_handed_down(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_API_KEY", "tml-secret")
    child = start("import os; print('shown', 'TINKER_API_KEY' in os.environ, flush=True)")
    assert child.first_line(b"shown", PATIENCE) == b"shown False"


def test_it_leads_a_session_of_its_own(start: Start) -> None:
    child = start("import os; print('leads', os.getsid(0) == os.getpid(), flush=True)")
    assert child.first_line(b"leads", PATIENCE) == b"leads True"


def test_no_descriptor_of_ours_leaks_into_it(start: Start) -> None:
    kept_open, other_end = os.pipe()
    try:
        os.set_inheritable(other_end, True)
        child = start(f"import os; print('has', *sorted(os.listdir('/proc/self/fd')), flush=True){STAY}")
        # The fourth is what lists them.
        assert child.first_line(b"has", PATIENCE).split()[1:4] == [b"0", b"1", b"2"]
        assert len(os.listdir(f"/proc/{child.pid}/fd")) == 3  # noqa: PTH208
    finally:
        os.close(kept_open)
        os.close(other_end)


def test_its_last_words(start: Start, errors: IO[bytes]) -> None:
    child = start("import sys; sys.stderr.write('first' + 'x' * 5000 + '\\nlast words, é\\n'); sys.exit(3)")
    assert child.how_it_ended(PATIENCE) == "exited with status 3"
    words = last_words(errors)
    assert words.endswith("x\nlast words, é")
    assert "first" not in words


def test_reading_its_last_words_does_not_move_where_it_writes(start: Start, errors: IO[bytes]) -> None:
    child = start(
        "import sys\n"
        "print('one', file=sys.stderr, flush=True); print('said', flush=True); input()\n"
        "print('two', file=sys.stderr, flush=True)"
    )
    child.first_line(b"said", PATIENCE)
    errors.seek(0)
    os.lseek(errors.fileno(), 0, os.SEEK_END)
    assert last_words(errors) == "one"
    child.write(b"\n")
    child.how_it_ended(PATIENCE)
    assert last_words(errors) == "one\ntwo"


def test_exit_fd_is_readable_once_it_has_ended(start: Start) -> None:
    child = start("print('READY', flush=True); input()")
    child.first_line(b"READY", PATIENCE)
    assert select.select([child.exit_fd], [], [], 0)[0] == []
    child.write(b"\n")
    assert select.select([child.exit_fd], [], [], PATIENCE)[0] == [child.exit_fd]


def test_the_end_of_its_stdin_has_it_end(start: Start) -> None:
    child = start("import sys; print('READY', flush=True); sys.stdin.read(); sys.exit(4)")
    child.first_line(b"READY", PATIENCE)
    child.end(PATIENCE)
    assert child.how_it_ended(0) == "exited with status 4"


def test_a_signal_has_it_end(start: Start) -> None:
    child = start(f"print('READY', flush=True){STAY}")
    child.first_line(b"READY", PATIENCE)
    child.end(PATIENCE, signal.SIGTERM)
    assert child.how_it_ended(0) == "was killed by SIGTERM"
    child.end(PATIENCE, signal.SIGTERM)
    child.close()
    child.close()
    assert child.how_it_ended(0) == "was killed by SIGTERM"


@pytest.mark.parametrize("number", [None, signal.SIGTERM])
def test_one_that_does_not_is_killed(start: Start, number: signal.Signals | None) -> None:
    child = start(
        f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('READY', flush=True){STAY}"
    )
    child.first_line(b"READY", PATIENCE)
    child.end(0.1, number)
    assert child.how_it_ended(0) == "was killed by SIGKILL"


@pytest.mark.parametrize("way", ["end", "abandon"])
def test_a_forked_child_does_not_end_it(start: Start, way: str) -> None:
    child = start(f"print('READY', flush=True){STAY}")
    child.first_line(b"READY", PATIENCE)
    forked = os.fork()
    if forked == 0:
        status = 1
        try:
            if way == "abandon":
                child.abandon()
            child.end(PATIENCE, signal.SIGKILL)
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(forked, 0)[1] == 0
    assert child.how_it_ended(0) is None


# A program that forks a child of its own, which lets go of the first and opens something in its place.
REUSES_DESCRIPTORS = """
import gc, os, sys, tempfile
from tinker_sidecar.processes.child import ChildProcess
with tempfile.TemporaryFile() as errors:
    child = ChildProcess("timeit", "-n1", "-s", "import sys; sys.stdin.read()", errors=errors)
forked = os.fork()
if forked == 0:
    child.abandon()
    opened = os.pipe()
    del child
    gc.collect()
    for descriptor in opened:
        os.fstat(descriptor)
    os._exit(0)
_, status = os.waitpid(forked, 0)
child.end(30)
child.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_what_a_forked_child_opens_next_is_not_closed_with_it() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", REUSES_DESCRIPTORS], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


# A program that has closed its descriptors, as daemons do, and among them those of the pipes.
CLOSES_DESCRIPTORS = """
import os, sys, tempfile
from tinker_sidecar.processes.child import ChildProcess
with tempfile.TemporaryFile() as errors:
    child = ChildProcess("timeit", "-n1", "-s", "import sys; sys.stdin.read()", errors=errors)
os.closerange(3, 100)
forked = os.fork()
if forked == 0:
    child.abandon()
    os._exit(0)
_, status = os.waitpid(forked, 0)
child.end(30)
child.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_descriptors_that_the_program_has_closed() -> None:
    done = subprocess.run([sys.executable, "-c", CLOSES_DESCRIPTORS], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_an_interpreter(monkeypatch: pytest.MonkeyPatch, errors: IO[bytes]) -> None:
    before = psutil.Process().num_fds()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(FileNotFoundError):
        ChildProcess("program", errors=errors)
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(RuntimeError, match="no Python interpreter"):
        ChildProcess("program", errors=errors)
    assert psutil.Process().num_fds() == before


def test_a_module_in_the_working_folder_is_not_taken_for_the_standard_librarys(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "types.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    child = start("import types; print('READY', flush=True)")
    assert child.first_line(b"READY", PATIENCE) == b"READY"
