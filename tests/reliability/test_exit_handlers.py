"""Programs that sample in an exit handler, as for a final evaluation."""

from __future__ import annotations

import sys

import pytest

from tests.reliability.programs import Launch, Program, in_each_host
from tinker_client.local_server import LocalServer

starts_no_threads = pytest.mark.skipif(
    sys.version_info[:2] == (3, 12), reason="Python 3.12 starts no thread once the main one has ended"
)

USED = "client = connect()\nsample(client, range(100))\n"

EVALUATE = """
import atexit

def evaluate():
    sample(client, range(100))
    say("evaluated")

atexit.register(evaluate)
"""


def assert_evaluates(program: Program) -> None:
    """In its exit handler; and then it ends as if it had not."""
    program.expect("evaluated")
    program.assert_ends_well()


@in_each_host
def test_a_handler_registered_after_the_import(launch: Launch, sidecar: bool | str) -> None:
    assert_evaluates(launch(USED + EVALUATE, sidecar=sidecar))


@starts_no_threads
@in_each_host
def test_a_handler_registered_before_the_import(launch: Launch, sidecar: bool | str) -> None:
    """This package's own handler runs before that one."""
    assert_evaluates(launch(USED, before=EVALUATE, sidecar=sidecar))


@starts_no_threads
@in_each_host
def test_one_with_the_local_server(launch: Launch, sidecar: bool | str) -> None:
    variables = {"TINKER_BASE_URL": "local", "TINKER_SIDECAR_LOCAL_ENGINE": "sim"}
    assert_evaluates(launch(USED, before=EVALUATE, sidecar=sidecar, variables=variables))


AWAITS = """
import asyncio, atexit

async def ask_all():
    prompts = [types.ModelInput.from_ints([number]) for number in range(1, 101)]
    await asyncio.gather(*(client.sample_async(prompt, 1, PARAMS) for prompt in prompts))
    say("evaluated")

atexit.register(lambda: asyncio.run(ask_all()))
"""


@starts_no_threads
@in_each_host
def test_one_that_awaits(launch: Launch, sidecar: bool | str) -> None:
    assert_evaluates(launch(USED, before=AWAITS, sidecar=sidecar))


@starts_no_threads
@in_each_host
def test_one_that_waits_for_what_was_asked_before(launch: Launch, sidecar: bool | str) -> None:
    before = "import atexit\natexit.register(lambda: (check(pending), say('evaluated')))"
    assert_evaluates(
        launch(USED + "pending = {n: ask(client, n) for n in range(100)}", before=before, sidecar=sidecar)
    )


FIRST_USE = """
def evaluate_anew():
    global client
    client = connect()
    sample(client, range(100))
    say("evaluated")

import atexit
atexit.register(evaluate_anew)
"""


@starts_no_threads
@in_each_host
@pytest.mark.parametrize("when", ["before", "after"])
def test_first_use_in_a_handler(launch: Launch, sidecar: bool | str, when: str) -> None:
    code, before = ("", FIRST_USE) if when == "before" else (FIRST_USE, "")
    assert_evaluates(launch(code, before=before, sidecar=sidecar))


DYING = (
    USED
    + """
import atexit
from tinker_client.connection.backends import get_backend

def evaluate():
    for _ in range(3):
        os.kill(get_backend(sidecar=True).pid, signal.SIGKILL)
        sample(client, range(20))
    say("evaluated")

atexit.register(evaluate)
import logging
logging.disable()
"""
)


@starts_no_threads
def test_a_sidecar_that_dies_meanwhile(launch: Launch) -> None:
    assert_evaluates(launch(DYING))


REFUSED = """
import atexit, tinker_client

def evaluate():
    try:
        sample(connect(), range(10))
    except tinker_client.TinkerError as error:
        say(type(error).__name__)
        say("thread" in str(error))

atexit.register(evaluate)
"""


@pytest.mark.skipif(sys.version_info[:2] != (3, 12), reason="other Pythons start threads there")
@in_each_host
def test_what_python_forbids_is_one_clear_error(launch: Launch, sidecar: bool | str) -> None:
    program = launch(REFUSED, sidecar=sidecar)
    program.expect("SidecarStartupError")
    program.expect("True")

    program.assert_ends_well()


@in_each_host
def test_requests_in_flight_do_not_hold_up_the_exit(
    launch: Launch, slow_server: LocalServer, sidecar: bool | str
) -> None:
    """Also with a handler that has nothing to do with them."""
    code = "client = connect()\npending = [ask(client, number) for number in range(2000)]\nsay('done')"
    before = "import atexit\natexit.register(print, 'bye', flush=True)"
    program = launch(code, before=before, server=slow_server, sidecar=sidecar)
    program.expect("done")
    program.expect("bye")

    program.assert_ends_well()
