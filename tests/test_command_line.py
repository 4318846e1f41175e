"""`tinker-sidecar`: what it says of itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tinker_client import __version__
from tinker_sidecar.local_server.fault_specs import KINDS
from tinker_sidecar.local_server.paths import ROUTES
from tinker_sidecar.local_server.quirks import QUIRKS

COMMAND = [sys.executable, "-c", "from tinker_sidecar.cli import main; main()"]
DOCUMENT = Path(__file__).parents[1] / "docs" / "local_server.md"


def said(*arguments: str) -> str:
    environment = os.environ | {"COLUMNS": "80", "LINES": "24"}
    done = subprocess.run(
        [*COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_its_version() -> None:
    assert said("--version") == f"tinker-sidecar {__version__}\n"


def test_its_commands() -> None:
    told = said("--help")
    assert "serve" in told
    assert "run" in told
    assert "--version" in told


def test_run_says_what_it_takes() -> None:
    told = said("run", "--help")
    assert "script.py|-m module [arguments]" in told.splitlines()[0]
    assert "TINKER_SUBPROCESS_SAMPLING=1" in told


def test_the_help_of_serve_fits_on_two_screens_and_names_the_page_with_the_rest() -> None:
    told = said("serve", "--help")
    assert len(told.splitlines()) <= 2 * 24
    assert f"docs/{DOCUMENT.name}" in told


@pytest.mark.parametrize(("name", "meaning"), [*KINDS.items(), *QUIRKS.items()])
def test_faults_and_quirks_are_on_that_page(name: str, meaning: str) -> None:
    assert f"| `{name}` | {meaning} |" in DOCUMENT.read_text()


def test_routes_are_on_that_page() -> None:
    assert [route for route in ROUTES if f"`{route}`" not in DOCUMENT.read_text()] == []
