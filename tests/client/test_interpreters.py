"""An interpreter that this package does not run on is refused at the import, in words that say what to do."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# What a free-threaded interpreter answers; the one that runs this has a GIL.
FREE = "sys._is_gil_enabled = lambda: False"
OLD = "sys.version_info = (3, 10, 13, 'final', 0)"
OTHER = "sys.implementation.name = 'pypy'"
IMPORT = "import tinker_client"
FREE_THREADED = [found for minor in (13, 14) if (found := shutil.which(f"python3.{minor}t"))]


def last_line(command: list[str | Path]) -> str:
    program = subprocess.run(command, capture_output=True, text=True, check=False)
    assert program.returncode == 1
    return program.stderr.strip().splitlines()[-1]


def pretending(what: str) -> str:
    return last_line([sys.executable, "-c", f"import sys; {what}; {IMPORT}"])


def test_a_free_threaded_one() -> None:
    line = pretending(FREE)
    assert line.startswith("ImportError: tinker_client does not support free-threaded Python yet: ")
    assert "PYTHON_GIL=1" in line


@pytest.mark.skipif(not FREE_THREADED, reason="there is no free-threaded Python here")
def test_a_real_free_threaded_one() -> None:
    for python in FREE_THREADED:
        line = last_line([python, "-c", f"import sys; sys.path[:0] = {sys.path!r}; {IMPORT}"])
        assert line.startswith("ImportError: tinker_client does not support free-threaded Python yet: ")


@pytest.mark.parametrize(("what", "name"), [(OLD, "cpython 3.10"), (OTHER, "pypy 3.")])
def test_an_old_one_and_one_that_is_not_cpython(what: str, name: str) -> None:
    line = pretending(what)
    assert line.startswith(f"ImportError: tinker_client needs CPython 3.11 or newer, and this is {name}")
