"""Environments with the official SDK, one a version, built on first use and kept."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

__all__ = ["VERSIONS", "python_of", "python_with"]

VERSIONS = ("0.26.2", "0.38.0")
"""The last of the line with a sidecar of its own, and the newest that is looked at."""

_ROOT = Path(__file__).parents[1]

# Read at import: tests run without any TINKER_ variable.
_CACHE = Path(os.environ.get("TINKER_SIDECAR_INTEROP_CACHE", _ROOT / ".venv-interop"))

_WHAT_IS_INSTALLED = """
from importlib.metadata import PackageNotFoundError, distribution
try: ours = distribution("pytest") and distribution("tinker-sidecar").read_text("direct_url.json")
except PackageNotFoundError: ours = ""
print(distribution("tinker").version, ours)
"""


def python_with(version: str, *packages: str, ours: bool = False) -> Path:
    """The Python of an environment with that version of `tinker`, `packages`, and, if `ours`, this project.

    With this project there is pytest. It lies under `.venv-interop/` or `$TINKER_SIDECAR_INTEROP_CACHE`.
    """
    python = python_of(version, *packages, ours=ours)
    installed, _, project = _installed(python).partition(" ")
    if installed != version or (ours and str(_ROOT) not in project):
        print(f"Installing tinker=={version} (once, a minute or so)", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", python.parents[1]], check=True)
        wanted = [f"tinker=={version}", *packages, *(["-e", str(_ROOT), "pytest"] if ours else [])]
        subprocess.run([python, "-m", "pip", "install", "-qq", *wanted], check=True)
    return python


def python_of(version: str, *packages: str, ours: bool = False) -> Path:
    """Where that Python is, or will be."""
    name = "-".join([version, *packages, *(["with-ours"] if ours else [])])
    return _CACHE / re.sub(r"[^\w.]+", "-", name) / "bin" / "python"


def _installed(python: Path) -> str:
    if not python.exists():
        return ""
    command = [python, "-c", _WHAT_IS_INSTALLED]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
