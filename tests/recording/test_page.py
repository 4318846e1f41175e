"""docs/replay.md: its programs run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recording.conftest import rows

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/replay.md").read_text()
TEST_FILE, PROGRAM = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def run(*command: str, folder: Path, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(180)  # Two programs that import transformers, and two servers.
def test_a_grader_is_tested_on_what_the_page_has_recorded(tmp_path: Path) -> None:
    (tmp_path / "rollouts.py").write_text(PROGRAM)
    (tmp_path / "test_grader.py").write_text(TEST_FILE)
    run("rollouts.py", folder=tmp_path, TINKER_SIDECAR_RECORD="monday")
    assert rows(tmp_path / "monday", "SELECT count(*) FROM results") == [(4,)]
    summary = run("-m", "pytest", "-q", "-p", "no:cacheprovider", folder=tmp_path, ROLLOUTS="monday")
    assert "2 passed" in summary
