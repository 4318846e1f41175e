"""The sidecar and the local server go with their process, however it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from tests.waiting import has_ended, wait_until
from tinker_client.local_server import start_local_server

# Starts both, and with requests in flight ends as it is told.
PROGRAM = """
import os, signal, sys, time
from tinker_client import ServiceClient, types

service_client = ServiceClient(base_url="local")
sampling_client = service_client.create_sampling_client(base_model="tinker-sidecar/sim")
prompt = types.ModelInput.from_ints([1, 2, 3])
params = types.SamplingParams(max_tokens=4)
sampling_client.sample(prompt, 1, params).result()
futures = [sampling_client.sample(prompt, 1, params) for _ in range(100)]
print("sampling", flush=True)
sys.stdin.readline()
END
"""

ENDS = {
    "normal end": "",
    "exception": "raise RuntimeError('on purpose')",
    "sys.exit": "sys.exit(3)",
    "os._exit": "os._exit(4)",
    "SIGKILL": "os.kill(os.getpid(), signal.SIGKILL)",
    "SIGTERM": "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)",
    "crash in C": "os.kill(os.getpid(), signal.SIGSEGV)",
    "from a thread": "import threading; threading.Thread(target=os._exit, args=(5,)).start(); time.sleep(60)",
    "with a forked sibling alive": "os.fork() or (os.close(1), os.close(2), time.sleep(60)); os._exit(0)",
    # It holds the pipes open that Python's own `fork` has us close: the sidecar's stdin does not end.
    "with a sibling alive that C code has forked": (
        "import ctypes; ctypes.PyDLL(None).fork() or (os.close(1), os.close(2), time.sleep(60)); os._exit(0)"
    ),
}


def start(program: str, temporary: Path, **variables: str) -> subprocess.Popen[str]:
    settings = {
        "TINKER_SUBPROCESS_SAMPLING": "1",
        "TINKER_SIDECAR_LOCAL_ENGINE": "sim",
        "TINKER_API_KEY": "tml-tests",
        "TMPDIR": str(temporary),
    }
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | settings | variables,
        start_new_session=True,
    )


SIBLINGS = {name: end for name, end in ENDS.items() if "sibling" in name}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_nothing_outlives_the_process(end: str, temporary: Path) -> None:
    assert_nothing_outlives(start(PROGRAM.replace("END", end), temporary), temporary)


@pytest.mark.parametrize("end", SIBLINGS.values(), ids=SIBLINGS)
def test_nor_where_there_is_no_pidfd(end: str, temporary: Path) -> None:
    process = start(PROGRAM.replace("END", end), temporary, TINKER_SIDECAR_PORTABLE="1")
    assert_nothing_outlives(process, temporary)


def assert_nothing_outlives(process: subprocess.Popen[str], temporary: Path) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "sampling\n"
    children = psutil.Process(process.pid).children()
    process.communicate("end\n", timeout=20)

    assert len(children) == 2, children
    try:
        wait_until(lambda: all(has_ended(child.pid) for child in children), show=lambda: children)
    finally:
        with suppress(ProcessLookupError):  # The forked sibling, which has done its part.
            os.killpg(process.pid, signal.SIGKILL)
    assert list(temporary.glob("tinker-sidecar-*")) == []


WAITING_PROGRAM = """
from tinker_client import ServiceClient, types

sampling_client = ServiceClient().create_sampling_client(base_model="tinker-sidecar/sim")
future = sampling_client.sample(types.ModelInput.from_ints([1]), 1, types.SamplingParams(max_tokens=4))
print("waiting", flush=True)
future.result()
"""


def test_ctrl_c_ends_a_waiting_program_at_once(temporary: Path) -> None:
    """The whole foreground group is signalled, as a terminal does it; and there is no noise of ours."""
    with closing(start_local_server("sim", "--latency", "60")) as slow_server:
        process = start(WAITING_PROGRAM, temporary, TINKER_BASE_URL=slow_server.base_url)
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        [sidecar] = psutil.Process(process.pid).children()
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=20)  # Not the minute that the request takes.

    assert process.returncode == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert errors.count("Traceback") == 1
    wait_until(lambda: has_ended(sidecar.pid))
    assert list(temporary.glob("tinker-sidecar-*")) == []
