"""Programs that ignore SIGCHLD, or wait for every child: how a sidecar ended is not made up."""

from __future__ import annotations

import pytest

from tests.reliability.programs import Launch

SAMPLE = """
import psutil
client = connect()
sample(client, range(20))
pending = ask(client, 1)
sidecar, = psutil.Process().children()
sidecar.kill()
assert tokens(pending) == expected_tokens([1], 1, 0, 4)
say("sampled")
"""

REAPER = """
def reap(*_):
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass

signal.signal(signal.SIGCHLD, reap)
"""

WAYS = {"SIGCHLD ignored": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)", "reaped by a handler": REAPER}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_killed_sidecar(launch: Launch, way: str) -> None:
    program = launch(way + SAMPLE)
    program.expect("sampled")
    ending = program.wait()

    assert ending.status == 0
    # A handler may come too late, and then the truth is known.
    assert "its status lost" in ending.errors or (way is REAPER and "killed by SIGKILL" in ending.errors)
    assert "exited with status" not in ending.errors
    program.assert_nothing_left()


START = """
from tinker_client import SidecarStartupError
sys.path.insert(0, os.environ["TMPDIR"])
with open(os.environ["TMPDIR"] + "/uvloop.py", "w") as broken:
    broken.write("raise SystemExit(3)")
try:
    connect({options})
except Exception as error:
    say("its status lost" in str(error) or {late} and "exited with status 3" in str(error))
"""


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("options", ["", "base_url='local'"], ids=["a sidecar", "a local server"])
def test_a_start_that_fails(launch: Launch, way: str, options: str) -> None:
    program = launch(way + START.format(options=options, late=way is REAPER))
    program.expect("True")

    program.assert_ends_well()
