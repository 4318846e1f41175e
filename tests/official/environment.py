"""Running a program in an environment of the official SDK with this project in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinker_sidecar.local_server.engines.sim import expected_logprobs, expected_tokens

__all__ = ["PROGRAM", "WAYS", "expected", "last_line", "official_environment", "report", "run", "ways_in"]

PROGRAM = Path(__file__).with_name("program.py")
WAYS = ("launcher", "auto", "install")


def official_environment(**settings: str) -> dict[str, str]:
    """What a user's shell has, without a developer's settings, and with the sidecar asked for."""
    keep = ("PATH", "HOME", "TMPDIR", "LANG", "HF_HUB_OFFLINE")
    kept = {name: os.environ[name] for name in keep if name in os.environ}
    return kept | {"TINKER_SUBPROCESS_SAMPLING": "1"} | settings


def run(command: Sequence[str | Path], **settings: str) -> subprocess.CompletedProcess[str]:
    environment = official_environment(**settings)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)


def ways_in(python: Path, way: str, *arguments: str) -> list[str | Path]:
    """How `PROGRAM` is run when `way` is the way in."""
    launcher = ["-m", "tinker_client"] if way == "launcher" else []
    return [python, *launcher, PROGRAM, way, *arguments]


def last_line(done: subprocess.CompletedProcess[str]) -> Any:
    """What a program printed last, as JSON, once it has ended well.

    The official SDK 0.38.0 aborts in some 2 % of its programs, with or without us, once they are done: the
    threads of its HTTP library outlive the interpreter.
    """
    assert done.returncode in (0, -signal.SIGABRT), done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def report(python: Path, way: str, url: str, model: str) -> dict[str, Any]:
    """What `PROGRAM` prints."""
    printed: dict[str, Any] = last_line(run(ways_in(python, way, url, model)))
    return printed


def expected() -> dict[str, Any]:
    """What each of the program's calls must be told, by the `sim` engine and through the sidecar."""
    prompt, max_tokens, seed = list(range(100, 120)), 16, 5
    samples = [expected_tokens(prompt, seed, index, max_tokens) for index in range(2)]
    return {
        "by": "RoutedFuture",
        "kinds": [True] * 5,
        "sequences": [[tokens, expected_logprobs(tokens), "length"] for tokens in samples],
        "logprobs": [None, *expected_logprobs(prompt[1:])],
    }
