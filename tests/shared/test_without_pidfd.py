"""Where the system gives no pidfds, by which a shared sidecar watches its programs, each has its own."""

from __future__ import annotations

import pytest

from tests.shared.conftest import Place, Start
from tinker_client.local_server import LocalServer

WITHOUT = """
import ctypes, errno, struct

ALLOW, REFUSE = 0x7FFF0000, 0x00050000
PIDFD_OPEN = 434  # On every architecture.
program = struct.pack(
    "=" + 4 * "HBBI",
    *(0x20, 0, 0, 0),  # Load the system call's number.
    *(0x15, 0, 1, PIDFD_OPEN),  # If it is another, skip the next line.
    *(0x06, 0, 0, REFUSE | errno.ENOSYS),
    *(0x06, 0, 0, ALLOW),
)


class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_char_p)]


prctl = ctypes.CDLL(None).prctl
SET_NO_NEW_PRIVILEGES, SET_SECCOMP = 38, 22
assert prctl(SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
assert prctl(SET_SECCOMP, 2, ctypes.byref(Filter(4, program)), 0, 0) == 0
"""
"""A filter of system calls, as a container's runtime installs it: what this process starts has it, too."""


def test_each_has_its_own(place: Place, start: Start, sim_server: LocalServer) -> None:
    program = start(sim_server, before=WITHOUT).ready()
    assert program.do("submit 0 20") == "20"
    assert program.do("wait") == "20"
    assert "samples through the sidecar" in program.do("status")
    assert place.sidecars() == place.folders() == []
    [warning] = program.leave().splitlines()
    assert "there can be no shared sidecar: that takes pidfds, which are not to be had here" in warning
    assert "Function not implemented" in warning


def test_unless_the_user_wants_no_other(
    place: Place, start: Start, sim_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINKER_SIDECAR_REQUIRE", "1")
    program = start(sim_server, before=WITHOUT)
    assert "SidecarStartupError: there can be no shared sidecar: that takes pidfds" in program.leave()
