"""The sidecar leaves the cores to the user's program, whose own threads are scheduled as before."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from tests.reliability.programs import Launch, in_each_host

pytestmark = pytest.mark.skipif(
    os.environ.get("TINKER_SIDECAR_PORTABLE") == "1", reason="the portable twin changes no thread's policy"
)

SAMPLE = """
client = connect()
sample(client, range(100))
threading.Thread(target=go_on, name="mine").start()
say("sampled")
"""


def policies(pid: int) -> dict[str, set[int]]:
    """How the threads of process `pid` are scheduled, by their names."""
    found: dict[str, set[int]] = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        name = (thread / "comm").read_text().strip()
        found.setdefault(name, set()).add(os.sched_getscheduler(int(thread.name)))
    return found


def test_only_our_threads_wait_their_turn(launch: Launch) -> None:
    program = launch(SAMPLE)
    program.expect("sampled")

    [sidecar] = program.sidecars()
    assert set().union(*policies(sidecar.pid).values()) == {os.SCHED_BATCH}
    theirs = policies(program.pid)
    assert theirs.pop("ZMQbg/IO/0") == {os.SCHED_BATCH}
    assert theirs.pop("ZMQbg/Reaper") == {os.SCHED_BATCH}
    assert set().union(*theirs.values()) == {os.SCHED_OTHER}
    program.go_on()
    program.assert_ends_well()


def test_in_process_the_engine_waits_its_turn(launch: Launch) -> None:
    program = launch(SAMPLE, sidecar=False)
    program.expect("sampled")

    theirs = policies(program.pid)
    assert theirs.pop("tinker-http") == {os.SCHED_BATCH}
    assert os.sched_getscheduler(program.pid) == os.SCHED_OTHER  # The main thread.
    program.go_on()
    program.assert_ends_well()


def test_a_program_that_runs_when_nobody_else_does(launch: Launch) -> None:
    """A policy the user chose is left alone."""
    program = launch(f"os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\n{SAMPLE}")
    program.expect("sampled")

    [sidecar] = program.sidecars()
    for pid in (program.pid, sidecar.pid):
        assert set().union(*policies(pid).values()) == {os.SCHED_IDLE}
    program.go_on()
    program.assert_ends_well()


REFUSE = """
import ctypes, struct

def refuse(syscall, argument, value):
    "Have the kernel refuse that system call as invalid, if it has this for its second argument."
    code = [
        (0x20, 0, 0, 0), (0x15, 0, 3, syscall),  # Its number
        (0x20, 0, 0, argument), (0x15, 0, 1, value),
        (0x06, 0, 0, 0x50000 | 22),  # EINVAL
        (0x06, 0, 0, 0x7FFF0000),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 6, ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, program) == 0, ctypes.get_errno()

refuse({syscall}, 24, os.SCHED_BATCH)
try:
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
except OSError:
    say("refused")
"""

SYSCALL = {"x86_64": 144, "aarch64": 119}.get(platform.machine())


@pytest.mark.skipif(SYSCALL is None, reason="no number for sched_setscheduler on this machine")
@in_each_host
def test_a_sandbox_that_has_no_such_policy(launch: Launch, sidecar: bool | str) -> None:
    """As gVisor, in which some clouds run everything."""
    program = launch(REFUSE.replace("{syscall}", str(SYSCALL)) + SAMPLE, sidecar=sidecar)
    program.expect("refused")
    program.expect("sampled")

    assert set().union(*policies(program.pid).values()) == {os.SCHED_OTHER}
    program.go_on()
    program.assert_ends_well()
