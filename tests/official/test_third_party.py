"""Real programs of the field, from the index and unchanged, with their sampling in the sidecar.

They bring PyTorch along, so they run with `make compat` alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.official.environment import last_line, official_environment, run
from tinker_client.local_server import LocalServer
from tinker_sidecar.local_server.engines.sim import BASE_MODEL
from tools.official_sdk import VERSIONS, python_with

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(1800),  # The first one builds the environment.
    # Read at import: tests run without any TINKER_ variable.
    pytest.mark.skipif("TINKER_SIDECAR_COMPAT" not in os.environ, reason="`make compat` runs it"),
]

EXAMPLES = Path(__file__).parents[2] / "examples" / "third_party"
COOKBOOK = "tinker-cookbook[math-rl,verifiers]==0.5.8"
"""The newest whose requirements are all to be had."""


def report(command: list[str | Path], settings: dict[str, str]) -> dict[str, Any]:
    """What a program prints at its end, which it is not left to: with the SDK's HTTP library and this many
    others in one process, one in ten never ends, sidecar or not."""
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command, env=official_environment(**settings), stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith("{"):
                    printed: dict[str, Any] = json.loads(line)
                    return printed
            errors.seek(0)
            raise AssertionError(errors.read())
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("program", "samples"), [("cookbook_rollouts", 96), ("cookbook_rl_loop", 256), ("verifiers_grading", 64)]
)
def test_it_samples_through_the_sidecar(program: str, samples: int) -> None:
    """As examples/README.md says."""
    python = python_with(VERSIONS[-1], COOKBOOK, ours=True)
    settings = {"TINKER_BASE_URL": "local", "TINKER_SIDECAR_REQUIRE": "1"}
    printed = report([python, "-m", "tinker_client", EXAMPLES / f"{program}.py"], settings)
    assert printed["samples"] == samples
    # The model solves nine problems out of ten.
    assert 0.7 < printed["mean_reward"] <= 1
    assert "samples through the sidecar; sidecar pid" in printed["status"]
    assert "1 session" in printed["status"]


@pytest.mark.parametrize("launcher", [[], ["-m", "tinker_client"]], ids=["install", "launcher"])
@pytest.mark.parametrize("order", ["install first", "capture first"])
def test_what_the_cookbook_captures(sim_server: LocalServer, launcher: list[str], order: str) -> None:
    """Its wrappers around the SDK's methods see each sample once, also in a spawned worker."""
    python = python_with(VERSIONS[-1], COOKBOOK, ours=True)
    program = Path(__file__).with_name("cookbook_capture.py")
    told = last_line(run([python, *launcher, program, order, sim_server.base_url, BASE_MODEL]))
    assert told["instrumented"] == told["spawned"] == ["RoutedFuture", 4, ["ok"]]
    official, *recorded = told["uninstalled"]
    assert (official, recorded) == ("_AwaitableFutureCompatWrapper", [4, ["ok"]])
    assert told["uninstrumented"] == ["RoutedFuture", 0, []]
    assert "samples through the sidecar" in told["status"]
