"""A credential command that takes its time ends with whoever runs it, and so does what it has started."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil

from tests.reliability.programs import Launch, Program, in_each_host
from tests.waiting import has_ended, wait_until

COMMAND = 'sleep 300 & echo $! >> "$TMPDIR/sleepers"; wait; echo tml-tests'
VARIABLES = {"TINKER_CREDENTIAL_CMD": COMMAND, "TINKER_API_KEY": None}

WAITS = """
threading.Thread(target=connect, daemon=True).start()
sys.stdin.readline()
"""


def sleeper(program: Program) -> psutil.Process:
    """What the command has started, which runs."""
    sleepers = program.temporary / "sleepers"
    wait_until(lambda: sleepers.exists() and sleepers.read_text().endswith("\n"))
    return psutil.Process(int(sleepers.read_text().split()[0]))


def assert_gone(process: psutil.Process) -> None:
    wait_until(lambda: has_ended(process.pid), show=process.status)


def test_the_sidecar_is_killed(launch: Launch) -> None:
    program = launch(WAITS, variables=VARIABLES)
    left = sleeper(program)
    program.sidecars()[0].kill()

    assert_gone(left)
    program.go_on()
    program.wait()


@in_each_host
def test_the_program_is_killed(launch: Launch, sidecar: bool | str) -> None:
    program = launch(WAITS, sidecar=sidecar, variables=VARIABLES)
    left = sleeper(program)
    program.process.kill()
    assert program.wait().status == -signal.SIGKILL

    assert_gone(left)


@in_each_host
def test_the_program_ends(launch: Launch, sidecar: bool | str) -> None:
    program = launch(WAITS, sidecar=sidecar, variables=VARIABLES)
    left = sleeper(program)
    program.go_on()
    assert program.wait().status == 0

    assert_gone(left)


# What a command leaves behind on purpose is its own business.
AGENT = 'sleep 300 >/dev/null 2>&1 & echo $! >> "$TMPDIR/sleepers"; echo tml-tests'


@in_each_host
def test_an_agent_that_the_command_leaves_behind(
    launch: Launch, temporary: Path, sidecar: bool | str
) -> None:
    program = launch(
        "sample(connect(), range(10)); say('sampled')",
        sidecar=sidecar,
        variables={**VARIABLES, "TINKER_CREDENTIAL_CMD": AGENT},
    )
    program.expect("sampled")
    program.assert_ends_well()

    agents = [psutil.Process(int(pid)) for pid in (temporary / "sleepers").read_text().split()]
    assert all(agent.is_running() for agent in agents)
    for agent in agents:
        agent.kill()


IGNORANT = """
from tinker_client import TinkerError
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
try:
    connect()
except TinkerError as error:
    say("exit status 3" in str(error))
"""


def test_one_that_fails_in_a_program_that_ignores_the_end_of_its_children(launch: Launch) -> None:
    program = launch(IGNORANT, variables={**VARIABLES, "TINKER_CREDENTIAL_CMD": "exit 3"})
    program.expect("True")

    program.assert_ends_well()
