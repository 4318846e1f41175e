"""The README is true: its Python runs as it stands and prints what it says, its figures are measured ones."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tinker_sidecar.local_server.engines.tiny import FOLDER

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PYTHON_BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
OUTPUTS = dict(re.findall(r"^```python\n(.*?)^```\n\n^```text\n(.*?)^```$", README, re.DOTALL | re.MULTILINE))
"""What the README says that each of its programs prints."""


@pytest.mark.parametrize("block", PYTHON_BLOCKS, ids=range(len(PYTHON_BLOCKS)))
def test_python_runs_as_a_script(block: str, host: str, tmp_path: Path) -> None:
    script = tmp_path / "readme.py"
    script.write_text(block)
    run = subprocess.run(
        [sys.executable, script], env=os.environ, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == OUTPUTS[block]


@pytest.mark.parametrize("key", ["held_out_accuracy_greedy", "held_out_accuracy_temperature_1"])
def test_accuracy_is_the_shipped_models(key: str) -> None:
    accuracy = json.loads((FOLDER / "config.json").read_text())[key]
    assert f"{100 * accuracy:.1f} %" in README


def test_the_short_table_repeats_the_whole_one() -> None:
    whole = rows((ROOT / "docs/performance.md").read_text(), "official 0.26.2 | its sidecar")
    short = rows(README, "official SDK 0.38.0 | official 0.26.2 with its sidecar")
    sync = [[cell.partition(" (")[0] for cell in row] for row in whole]
    assert [row[1:] for row in short] == [[row[3], row[2], row[5]] for row in sync]


def rows(page: str, head: str) -> list[list[str]]:
    """The cells of the table in `page` that has `head` in its first line, without that line."""
    table = page[page.index(head) :].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
