"""A server that belongs to a process: started, closed, and gone with it however it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.local_server.api import Api
from tests.waiting import has_ended, wait_until
from tinker_client import SidecarStartupError
from tinker_client.local_server import start_local_server

# Prints the server's pid, then ends in the way its argument says.
OWNER = """
import os, signal, sys, time
from tinker_client.local_server import start_local_server
server = start_local_server("sim")
sibling = os.fork() if "sibling" in sys.argv else None
if sibling == 0:
    time.sleep(600)
print(server.pid, sibling or "", flush=True)
exec(sys.argv[1])
"""


def test_close_leaves_nothing() -> None:
    server = start_local_server("sim")
    assert Api(server.base_url).get("healthz").status == 200
    server.close()
    assert not psutil.pid_exists(server.pid)
    server.close()


def test_a_forked_child_cannot_close_the_server_of_its_parent() -> None:
    server = start_local_server("sim")
    try:
        child = os.fork()
        if child == 0:
            server.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert Api(server.base_url).get("healthz").status == 200
    finally:
        server.close()


@pytest.mark.parametrize(
    "end", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(0)", "raise SystemExit", "1 / 0", "os.abort()"]
)
def test_it_ends_with_its_process(end: str) -> None:
    done = subprocess.run([sys.executable, "-c", OWNER, end], capture_output=True, text=True)
    wait_until(lambda: has_ended(int(done.stdout)))


@pytest.mark.parametrize("portable", ["0", "1"], ids=["", "portable"])
def test_it_ends_with_its_process_even_if_a_forked_sibling_lives(
    portable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINKER_SIDECAR_PORTABLE", portable)
    command = [sys.executable, "-c", OWNER, "os.kill(os.getpid(), signal.SIGKILL)", "sibling"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        server, sibling = map(int, owner.stdout.readline().split())
        try:
            wait_until(lambda: has_ended(server))
            assert psutil.pid_exists(sibling)
        finally:
            psutil.Process(sibling).kill()


def test_a_parent_that_is_gone_already() -> None:
    """The pid may belong to another process by now: here to this test's parent."""
    options = ["--engine", "sim", "--port", "0", "--watch-parent", str(os.getppid())]
    done = subprocess.run(
        [sys.executable, "-m", "tinker_sidecar.local_server", *options],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (0, "")


BAD_STARTS = {
    ("sim", "--no-such-option"): "exited with status 2 before it listened: Error: No such option",
    ("sim", "--host", "0.0.0.0"): "exited with status 1 before it listened: .*open to other machines",
    (
        "huge",
    ): "exited with status 1 before it listened: .*there is no engine 'huge': it is one of tiny, sim, ",
}


@pytest.mark.parametrize(("arguments", "message"), BAD_STARTS.items(), ids=map(" ".join, BAD_STARTS))
def test_an_early_death_is_told_in_one_line(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(SidecarStartupError, match=f"^the local server {message}") as caught:
        start_local_server(*arguments)
    assert isinstance(caught.value, RuntimeError)
    assert "\n" not in str(caught.value)


@pytest.fixture
def every_python_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has every Python that starts run a line."""

    def first(line: str) -> None:
        (tmp_path / "sitecustomize.py").write_text(line)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return first


EveryPython = Callable[[str], None]


def test_a_crash_is_told_with_its_last_line(every_python_first: EveryPython) -> None:
    every_python_first("import uvicorn; del uvicorn.Server")
    with pytest.raises(
        SidecarStartupError, match=r"before it listened: AttributeError: .*no attribute 'Server'"
    ):
        start_local_server("sim")


def test_a_kill_is_told(every_python_first: EveryPython) -> None:
    every_python_first("import os; os.kill(os.getpid(), 9)")
    with pytest.raises(SidecarStartupError, match=r"was killed by SIGKILL before it listened: \(it wrote"):
        start_local_server("sim")


def test_one_that_does_not_listen_in_time_is_ended(every_python_first: EveryPython) -> None:
    every_python_first("import time; time.sleep(600)")
    with pytest.raises(SidecarStartupError, match=r"did not listen within 0\.2 s"):
        start_local_server("sim", start_timeout=0.2)


def test_without_an_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(SidecarStartupError, match=r"cannot start the local server: .*No such file"):
        start_local_server("sim")


def test_a_python_that_prints_when_it_starts(every_python_first: EveryPython) -> None:
    every_python_first("print('good morning', flush=True)")
    server = start_local_server("sim")
    assert Api(server.base_url).get("healthz").status == 200
    server.close()
