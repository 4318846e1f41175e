"""An interpreter without the GIL is refused at the import, in words that say what to do."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

# What a free-threaded interpreter answers; the one that runs this has a GIL.
PRETENDING = "import sys; sys._is_gil_enabled = lambda: False; import tinker_client"


def test_it_is_refused() -> None:
    assert_refused([sys.executable, "-c", PRETENDING])


@pytest.mark.skipif(shutil.which("python3.13t") is None, reason="there is no free-threaded Python here")
def test_a_real_one_is_refused() -> None:
    assert_refused(["python3.13t", "-c", f"import sys; sys.path[:0] = {sys.path!r}; import tinker_client"])


def assert_refused(command: list[str]) -> None:
    program = subprocess.run(command, capture_output=True, text=True, check=False)
    assert program.returncode == 1
    last_line = program.stderr.strip().splitlines()[-1]
    assert last_line.startswith("ImportError: tinker_client does not support free-threaded Python yet: ")
    assert "PYTHON_GIL=1" in last_line
