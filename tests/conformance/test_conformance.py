"""One set of calls, three ways: the official SDK, ours in process, ours through the sidecar."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.scenarios import SCENARIOS
from tests.official.environment import last_line
from tinker_client.local_server import LocalServer
from tinker_sidecar.local_server.engines import sim, tiny
from tools.official_sdk import VERSIONS, python_with

RUN = Path(__file__).with_name("run.py")


@pytest.fixture(scope="module", params=["sim", "tiny"])
def server(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The URL of a local server and the name of its model."""
    server: LocalServer = request.getfixturevalue(f"{request.param}_server")
    return server.base_url, sim.BASE_MODEL if request.param == "sim" else tiny.BASE_MODEL


@cache
def outcomes(python: Path, package: str, server: tuple[str, str], sidecar: bool = False) -> dict[str, Any]:
    """What every scenario was told, each program having run once for all the tests here."""
    environment = os.environ | {"TINKER_SUBPROCESS_SAMPLING": str(int(sidecar))}
    command = [str(python), str(RUN), package, *server]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    told: dict[str, Any] = last_line(done)
    return told


def ours(server: tuple[str, str], *, sidecar: bool) -> dict[str, Any]:
    return outcomes(Path(sys.executable), "tinker_client", server, sidecar)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_both_hosts_are_told_the_same(server: tuple[str, str], scenario: str) -> None:
    in_process = ours(server, sidecar=False)[scenario]
    assert "failed" not in in_process, in_process["failed"]
    assert ours(server, sidecar=True)[scenario] == in_process


@pytest.mark.interop
@pytest.mark.timeout(900)  # The first one builds the environment.
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_official_sdk_is_told_the_same(server: tuple[str, str], scenario: str) -> None:
    official = outcomes(python_with(VERSIONS[-1]), "tinker", server)[scenario]
    assert "failed" not in official, official["failed"]
    assert ours(server, sidecar=True)[scenario] == official
