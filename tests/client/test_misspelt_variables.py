"""A variable of the environment that is named like one of ours, and is none, is told of, once."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

import tinker_client
from tinker_client import ServiceClient
from tinker_client.local_server import LocalServer
from tinker_client.variables import KNOWN

ROOT = Path(__file__).parents[2]
SAMPLNG = "TINKER_SUBPROCESS_SAMPLNG"


@pytest.fixture(autouse=True)
def _misspelt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinker_client.variables._told", set())
    monkeypatch.setenv("TINKER_SIDECAR_TRCE", "run.json")
    monkeypatch.setenv(SAMPLNG, "1")
    monkeypatch.setenv("TINKER_SIDECAR_1", "1")
    monkeypatch.setenv("TINKER_SIDECAR_WHO", "0")
    monkeypatch.setenv("TINKER_OF_THE_OFFICIAL_SDK", "1")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == "tinker_client"]


TOLD = [
    "TINKER_SIDECAR_1 is set in the environment, and means nothing",
    "TINKER_SIDECAR_TRCE is set in the environment, and means nothing: did you mean TINKER_SIDECAR_TRACE?",
    f"{SAMPLNG} is set in the environment, and means nothing: did you mean TINKER_SUBPROCESS_SAMPLING?",
]


@pytest.mark.usefixtures("host")
def test_by_the_first_client(sim_server: LocalServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            ServiceClient(base_url=sim_server.base_url, api_key="tml-tests").close()
    assert warnings(caplog) == TOLD


def test_by_install(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        tinker_client.install()
    assert warnings(caplog) == TOLD


def test_every_variable_that_is_read_is_known() -> None:
    """The table itself is part of the source, so what is no longer read has to be taken out by hand."""
    folders = ("tinker_client", "tinker_sidecar", "tools", "benchmarks", "examples")
    source = "".join(path.read_text() for folder in folders for path in (ROOT / folder).rglob("*.py"))
    named = set(re.findall(r'"(TINKER_(?:SIDECAR|SUBPROCESS)_[A-Z_]*[A-Z])"', source))
    assert named <= KNOWN
