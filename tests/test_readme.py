"""The README is true: its Python runs as it stands, and its figures are those measured."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tinker_sidecar.local_server.engines.tiny import FOLDER

README = (Path(__file__).parents[1] / "README.md").read_text()
PYTHON_BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", PYTHON_BLOCKS, ids=range(len(PYTHON_BLOCKS)))
def test_python_runs_as_a_script(block: str, host: str, tmp_path: Path) -> None:
    script = tmp_path / "readme.py"
    script.write_text(block)
    run = subprocess.run(
        [sys.executable, script], env=os.environ, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.strip()


@pytest.mark.parametrize("key", ["held_out_accuracy_greedy", "held_out_accuracy_temperature_1"])
def test_accuracy_is_the_shipped_models(key: str) -> None:
    accuracy = json.loads((FOLDER / "config.json").read_text())[key]
    assert f"{100 * accuracy:.1f} %" in README
