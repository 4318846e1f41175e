"""Containers: the program is process 1 of its own world, or is left to a process that adopts orphans."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from tests.reliability.programs import Launch, permitted
from tests.waiting import wait_until

AS_PID_1 = """
assert os.getpid() == 1
client = connect()
sample(client, range(100))
say("sampled")
go_on()
"""

UNSHARE = ("unshare", "--pid", "--fork", "--kill-child")
needs_pid_namespace = pytest.mark.skipif(
    not permitted(*UNSHARE, "true"), reason="no permission to make a pid namespace"
)


@needs_pid_namespace
def test_as_process_1(launch: Launch) -> None:
    program = launch(AS_PID_1, command=(*UNSHARE, "--mount-proc"))
    program.expect("sampled")
    assert len(program.sidecars()) == 1
    program.go_on()

    program.assert_ends_well()


@needs_pid_namespace
def test_everything_is_killed_at_once(launch: Launch, temporary: Path) -> None:
    """As when process 1 of a container ends: nobody is left to tidy up, so whoever comes next does."""
    program = launch(AS_PID_1.replace("go_on()", "go_on(); os._exit(0)"), command=UNSHARE)
    program.expect("sampled")
    [folder] = temporary.glob("tinker-sidecar-*")
    [sidecar] = program.sidecars()
    sidecar.suspend()  # Else it may be quick enough to tidy up.
    wait_until(lambda: sidecar.status() == psutil.STATUS_STOPPED)
    neighbour = launch("sample(connect(), range(10)); say('sampled'); go_on(); sample(connect(), range(10))")
    neighbour.expect("sampled")
    folders = set(temporary.glob("tinker-sidecar-*"))
    for one in folders:
        os.utime(one, (0, 0))  # A young one may be about to be used.
    program.go_on()
    program.wait()
    assert folder.exists()

    follower = launch("sample(connect(), range(10)); say('sampled'); go_on()")
    follower.expect("sampled")
    assert not folder.exists()
    assert all(other.exists() for other in folders - {folder})
    for living in (neighbour, follower):
        living.go_on()
        assert living.wait().status == 0
    follower.assert_nothing_left()


# Where /proc is another namespace's, as in a sandbox, the sidecar's memory cannot be found by its pid.
LARGE = """
client = connect()
prompt = types.ModelInput.from_ints([number % 30000 for number in range(20000)])
result = client.sample(prompt, 1, PARAMS, True, 20).result(30)
assert len(result.topk_prompt_logprobs) == 20000
say("a large result")
"""


@needs_pid_namespace
@pytest.mark.parametrize("proc", [("--mount-proc",), ()], ids=["own /proc", "another's /proc"])
def test_large_results(launch: Launch, proc: tuple[str, ...]) -> None:
    program = launch(LARGE, command=(*UNSHARE, *proc))
    program.expect("a large result")

    ending = program.wait()
    assert (ending.status, ending.errors) == (0, "")


# As systemd does, and some container inits: the orphans come to it instead of to process 1.
SUBREAPER = """
import ctypes, subprocess
PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
program = '''
from tinker_client import ServiceClient, types
client = ServiceClient().create_sampling_client(base_model="tinker-sidecar/sim")
pending = [client.sample(types.ModelInput.from_ints([1]), 1, types.SamplingParams(max_tokens=4))
           for _ in range(1000)]
print("sampling", flush=True)
input()
'''
child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE)
go_on()
child.kill()
child.wait()
adopted, status = os.wait()
assert os.waitstatus_to_exitcode(status) == 0
say("the sidecar ended")
"""


def test_under_a_subreaper(launch: Launch) -> None:
    program = launch(SUBREAPER)
    program.expect("sampling")
    assert len(program.sidecars()) == 1
    program.go_on()
    program.expect("the sidecar ended")

    assert program.wait().status == 0
    program.assert_nothing_left()
