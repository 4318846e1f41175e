"""Write `requirements-sampling.txt`: those dependencies of `pyproject.toml` that sampling needs.

python -m tools.sampling_requirements
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

__all__ = ["REQUIREMENTS", "sampling_requirements"]

_ROOT = Path(__file__).parents[1]
REQUIREMENTS = _ROOT / "requirements-sampling.txt"

_HEAD = """\
# What a worker needs that only samples; docs/installing.md says how to use it.
# Made by `python -m tools.sampling_requirements` from pyproject.toml.
"""


def sampling_requirements() -> str:
    """The text of the file."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())
    wanted = project["tool"]["tinker-sidecar"]["sampling"]
    lines = {Requirement(line).name: line for line in project["project"]["dependencies"]}
    return _HEAD + "".join(f"{lines[name]}\n" for name in wanted)


if __name__ == "__main__":
    REQUIREMENTS.write_text(sampling_requirements())
