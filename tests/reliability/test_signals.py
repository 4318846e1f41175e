"""Ctrl-C at the worst moments, twice, and SIGTERM to the process group."""

from __future__ import annotations

import os
import re
import signal

from tests.reliability.programs import Launch, in_each_host
from tests.waiting import wait_until
from tinker_client.local_server import LocalServer

# A timer's signal, so that each comes at another moment of the start.
INTERRUPTED_STARTS = """
import tinker_client

def interrupt(*_):
    raise KeyboardInterrupt

sample(connect(), range(10))  # What Ctrl-C does to an import under way is up to the libraries imported.
tinker_client.shutdown()
signal.signal(signal.SIGALRM, interrupt)
interrupted = 0
for number in range(30):
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.004 * number + 0.001)
            client = connect()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        interrupted += 1
    tinker_client.shutdown()
assert interrupted > 5, interrupted
sample(connect(), range(100))
say("a clean start")
go_on()
"""


def test_ctrl_c_during_start_up(launch: Launch) -> None:
    """In a program that goes on after it, as a notebook does: nothing half-started stays behind."""
    program = launch(INTERRUPTED_STARTS)
    program.expect("a clean start")
    wait_until(lambda: len(program.sidecars()) == 1, show=program.sidecars)
    program.go_on()

    program.assert_ends_well()


WAITING = """
client = connect()
futures = [ask(client, number) for number in range(100)]
say("waiting")
futures[0].result()
"""


@in_each_host
def test_ctrl_c_twice(launch: Launch, slow_server: LocalServer, sidecar: bool | str) -> None:
    """The second lands wherever the first has got the program to: in the wait, the traceback, the exit."""
    program = launch(WAITING, server=slow_server, sidecar=sidecar)
    program.expect("waiting")
    os.killpg(program.pid, signal.SIGINT)
    os.killpg(program.pid, signal.SIGINT)

    program.wait()
    program.assert_nothing_left()


@in_each_host
def test_ctrl_c_during_the_exit(launch: Launch, slow_server: LocalServer, sidecar: bool | str) -> None:
    code = WAITING.replace("futures[0].result()", "")
    program = launch(code, server=slow_server, sidecar=sidecar)
    program.expect("waiting")
    for _ in range(20):
        if program.process.poll() is None:
            os.killpg(program.pid, signal.SIGINT)

    program.wait()
    program.assert_nothing_left()


IN_A_HURRY = """
import atexit
ServiceClient(base_url="local")
atexit.register(say, "leaving")  # The last registered is the first to run.
"""


OF_LOGGING = re.compile(
    r"Exception ignored in atexit callback:? <function shutdown .*\nTraceback .*\n"
    r'(  File ".*/logging/__init__.py", .*\n(    .*\n)*)+KeyboardInterrupt:? ?\n'
)
"""From Python's own exit handler, which runs after ours."""


def test_ctrl_c_while_everything_ends(launch: Launch) -> None:
    """Whoever is in a hurry need not read a traceback of ours, wherever the signal finds the interpreter."""
    program = launch(IN_A_HURRY, variables={"TINKER_SIDECAR_LOCAL_ENGINE": "sim"})
    program.expect("leaving")
    for _ in range(20):
        if program.process.poll() is None:
            os.kill(program.pid, signal.SIGINT)

    assert OF_LOGGING.sub("", program.wait().errors) == ""
    program.assert_nothing_left()


def test_sigterm_to_the_process_group(launch: Launch, slow_server: LocalServer) -> None:
    """As `timeout`, a job scheduler or a container's end send it."""
    program = launch(WAITING, server=slow_server)
    program.expect("waiting")
    os.killpg(program.pid, signal.SIGTERM)

    assert program.wait().status == -signal.SIGTERM
    program.assert_nothing_left()


HANDLES_SIGTERM = """
client = connect()

def finish(*_):
    sample(client, range(100))
    say("finished what was begun")
    sys.exit(0)

signal.signal(signal.SIGTERM, finish)
say("sampling")
time.sleep(60)
"""


def test_a_program_that_cleans_up_on_sigterm_can_still_sample(launch: Launch) -> None:
    program = launch(HANDLES_SIGTERM)
    program.expect("sampling")
    os.killpg(program.pid, signal.SIGTERM)
    program.expect("finished what was begun")

    program.assert_ends_well()
