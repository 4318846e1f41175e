"""Threads and descriptors run out: an error each time, nothing half-made, and success when there is room."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.reliability.programs import Launch, Program, in_each_host, in_its_own_host, permitted


def become(user: int) -> tuple[str, ...]:
    """The command that goes on as `user`, whose threads are counted, and who may read where Python lies."""
    capability = "+dac_read_search"
    return (
        *("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"),
        *(f"--inh-caps={capability}", f"--ambient-caps={capability}", f"--bounding-set=-all,{capability}"),
    )


needs_another_user = pytest.mark.skipif(
    not permitted(*become(12345), "true"), reason="no permission to become another user"
)


@pytest.fixture
def launch_alone(launch: Launch, temporary: Path) -> Callable[..., Program]:
    """Start a program as a user who has no other processes."""
    user = 1_000_000 + os.getpid()

    def start(code: str, sidecar: bool | str) -> Program:
        os.chown(temporary, user, user)
        return launch(code, command=become(user), sidecar=sidecar, variables={"HOME": "/"})

    return start


# As if `ulimit -u` or `ulimit -n` were one more each time: what comes first is refused, then what comes next.
EVER_MORE = """
import ctypes  # Where libffi keeps a descriptor of its own open, it is not to be counted as ours.
import resource
import psutil
from tinker_client import SidecarStartupError

me = psutil.Process()
resource.setrlimit(KIND, (1000, 1000))
refused = 0

def belongings():
    return len(me.children()), me.num_fds(), me.num_threads()

for limit in range(FIRST, 1000):
    before = belongings()
    resource.setrlimit(KIND, (limit, 1000))
    try:
        client = connect()
        break
    except SidecarStartupError as error:
        resource.setrlimit(KIND, (1000, 1000))
        refused += 1
        children, descriptors, threads = belongings()
        LEFT
resource.setrlimit(KIND, (1000, 1000))
sample(client, range(50))
say("refused" if refused > 2 else f"refused {refused} times")
"""

THREADS = EVER_MORE.replace("KIND", "resource.RLIMIT_NPROC").replace("FIRST", "2")
DESCRIPTORS = EVER_MORE.replace("KIND", "resource.RLIMIT_NOFILE").replace("FIRST", "me.num_fds() + 1")


@needs_another_user
@in_its_own_host
def test_threads(launch_alone: Callable[..., Program], sidecar: bool) -> None:
    left = "assert (children, descriptors) <= before[:2], (before, belongings(), error)"
    program = launch_alone(THREADS.replace("LEFT", left), sidecar)
    program.expect("refused")

    program.assert_ends_well()


@in_each_host
def test_descriptors(launch: Launch, sidecar: bool | str) -> None:
    # In process the HTTP library keeps what it has begun with.
    left = f"assert (children, {sidecar!r} and descriptors) <= before[:2], (before, belongings(), error)"
    program = launch(DESCRIPTORS.replace("LEFT", left), sidecar=sidecar)
    program.expect("refused")

    program.assert_ends_well()


# A moment in which others have all there is.
MOMENTARILY = """
import resource
import psutil

client = connect()
sample(client, range(20))
sidecar, = psutil.Process().children()
threads = psutil.Process().num_threads()

def end_the_shortage():
    dead.wait()
    time.sleep(0.3)  # The first attempts to replace it.
    resource.setrlimit(resource.RLIMIT_NPROC, (1000, 1000))

dead = threading.Event()
threading.Thread(target=end_the_shortage).start()
pending = [ask(client, 1) for _ in range(100)]
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1000))
sidecar.kill()
dead.set()
for future in pending:
    assert tokens(future) == expected_tokens([1], 1, 0, 4)
say("replaced")
"""


@needs_another_user
def test_a_sidecar_is_replaced_after_a_moment_without_threads(
    launch_alone: Callable[..., Program],
) -> None:
    program = launch_alone(MOMENTARILY, sidecar=True)
    program.expect("replaced")

    ending = program.wait()
    assert ending.status == 0
    assert "Another has taken over" in ending.errors
    program.assert_nothing_left()


NO_DOORBELL = """
import psutil
from tinker_client import SidecarStartupError
from tinker_client.connection import channel

open_doorbell = channel.open_doorbell
del channel.open_doorbell
for _ in range(3):
    try:
        connect()
    except SidecarStartupError as error:
        assert "open_doorbell" in str(error)
    assert psutil.Process().children() == []
channel.open_doorbell = open_doorbell
sample(connect(), range(20))
say("sampled")
"""


def test_what_fails_after_the_sidecar_has_started(launch: Launch) -> None:
    program = launch(NO_DOORBELL)
    program.expect("sampled")

    program.assert_ends_well()
