"""Where there is no Unix: what cannot work says so in one line at the call, and what can, works.

There is no Windows here. These programs lack what it lacks, so far as Python itself can do without.
"""

from __future__ import annotations

import pytest

from tests.reliability.programs import Launch

LIKE_WINDOWS = """
import os, select, socket, sys
import psutil  # It has a part for Windows.
for name in ("fcntl", "resource", "uvloop"):
    sys.modules[name] = None
del os.fork, os.register_at_fork, os.pidfd_open, os.memfd_create, os.sched_getaffinity, os.sched_setscheduler
import asyncio
del select.epoll, select.poll
"""

NO_UNIX_SOCKETS = "del socket.AF_UNIX\n"
"""Only for what needs them: Windows' event loops do without, but ours here do not."""

SIDECAR = """
from tinker_client import SidecarStartupError

try:
    connect()
except SidecarStartupError as error:
    say(str(error))
assert psutil.Process().children() == []
"""


@pytest.mark.parametrize("portable", ["0", "1"], ids=["", "portable"])
def test_the_sidecar_says_what_is_missing(launch: Launch, portable: str) -> None:
    program = launch(
        SIDECAR, before=LIKE_WINDOWS + NO_UNIX_SOCKETS, variables={"TINKER_SIDECAR_PORTABLE": portable}
    )
    program.expect(
        "no sidecar can run here, as this system has no Unix sockets and no poll(): sample in process, "
        "without TINKER_SUBPROCESS_SAMPLING; or run this program on Linux, on macOS or in Windows' WSL"
    )
    program.assert_ends_well()


def test_nor_can_one_be_shared(launch: Launch) -> None:
    """Which is told first, and then why there is none in its place either."""
    program = launch(
        SIDECAR, before=LIKE_WINDOWS + NO_UNIX_SOCKETS, variables={"TINKER_SUBPROCESS_SAMPLING": "shared"}
    )
    assert program.hear().startswith("no sidecar can run here, as this system has no Unix sockets")
    program.wait()
    [line] = program.errors.splitlines()
    assert line.startswith("there can be no shared sidecar: that takes pidfds, which are not to be had here")
    program.assert_nothing_left()


def test_in_process_it_samples(launch: Launch) -> None:
    code = 'sample(connect(), range(100))\nsay("sampled")'
    variables = {"TINKER_SIDECAR_PORTABLE": "1"}
    program = launch(code, before=LIKE_WINDOWS, sidecar=False, variables=variables)
    program.expect("sampled")
    program.assert_ends_well()
