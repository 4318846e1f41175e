"""Whatever only Linux has, has a twin that any Unix can have."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tinker_sidecar.system
from tinker_sidecar.system.linux import processes as linux
from tinker_sidecar.system.portable import processes as portable

FOLDER = Path(tinker_sidecar.system.__file__).parent


def offered(by: str) -> dict[str, list[str]]:
    """The names that each module of `linux` or `portable` offers."""
    return {
        path.stem: importlib.import_module(f"tinker_sidecar.system.{by}.{path.stem}").__all__
        for path in (FOLDER / by).glob("[!_]*.py")
    }


def test_each_module_has_a_twin_with_the_same_names() -> None:
    assert offered("linux") == offered("portable")


def test_the_room_offers_all_of_them() -> None:
    names = [name for module in offered("linux").values() for name in module]
    assert sorted(names) == sorted(tinker_sidecar.system.__all__)


@pytest.mark.parametrize("chosen", ["linux", "portable"])
def test_a_variable_chooses(chosen: str) -> None:
    code = (
        "import tinker_sidecar.system as system; "
        "print(*{getattr(system, name).__module__.split('.')[2] for name in system.__all__ "
        "if callable(getattr(system, name))})"
    )
    variables = os.environ | {"TINKER_SIDECAR_PORTABLE": "1" if chosen == "portable" else "0"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=variables)
    assert (done.stdout, done.stderr) == (f"{chosen}\n", "")


def test_both_see_who_is_stopped() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            assert (linux.is_stopped(process.pid), portable.is_stopped(process.pid)) == (False, False)
            os.kill(process.pid, 19)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            assert (linux.is_stopped(process.pid), portable.is_stopped(process.pid)) == (True, True)
        finally:
            process.kill()
    assert (linux.is_stopped(process.pid), portable.is_stopped(process.pid)) == (False, False)


def test_both_tell_when_a_process_was_started() -> None:
    for system in (linux, portable):
        own = system.start_of(os.getpid())
        assert own is not None
        assert own == system.start_of(os.getpid()) != system.start_of(1)
    with subprocess.Popen(["true"]) as nobody:
        nobody.wait()
    assert linux.start_of(nobody.pid) is portable.start_of(nobody.pid) is None
