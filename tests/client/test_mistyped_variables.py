"""A word in the environment that is neither on nor off is an error that names the variable and the words."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

import tinker_client
from tinker_client import ServiceClient, TinkerError
from tinker_client.local_server import LocalServer

WORDS = (
    r"must be 1, true, yes, on to be on, or 0, false, no, off or nothing to be off(, or 'shared' .*)?; "
    "got 'maybe'$"
)


def connect(server: LocalServer) -> ServiceClient:
    return ServiceClient(base_url=server.base_url, api_key="tml-tests")


@pytest.mark.parametrize("base_url", ["local", "http://127.0.0.1:1"])
def test_a_client_is_not_made(monkeypatch: pytest.MonkeyPatch, base_url: str) -> None:
    """Nor is a server started for it."""
    before = psutil.Process().children()
    monkeypatch.setenv("TINKER_SUBPROCESS_SAMPLING", "maybe")
    with pytest.raises(TinkerError, match=f"^TINKER_SUBPROCESS_SAMPLING {WORDS}"):
        ServiceClient(base_url=base_url, api_key="tml-tests")
    assert psutil.Process().children() == before


@pytest.mark.parametrize(("word", "sidecars"), [("1", 1), ("TRUE", 1), ("Yes", 1), (" on ", 1), ("off", 0)])
def test_the_words_that_are_taken(
    sim_server: LocalServer, monkeypatch: pytest.MonkeyPatch, word: str, sidecars: int
) -> None:
    monkeypatch.setenv("TINKER_SUBPROCESS_SAMPLING", word)
    with connect(sim_server):
        mains = [child.cmdline()[-2:] for child in psutil.Process().children()]
        assert mains.count(["-m", "tinker_sidecar"]) == sidecars


@pytest.mark.parametrize("variable", ["TINKER_SUBPROCESS_SAMPLING", "TINKER_SIDECAR_REQUIRE"])
def test_install_refuses_it(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "maybe")
    with pytest.raises(TinkerError, match=f"^{variable} {WORDS}"):
        tinker_client.install()


LAUNCHERS = {
    "module": ["-m", "tinker_client"],
    "command": ["-c", "from tinker_sidecar.cli import main; main()", "run"],
}


@pytest.mark.parametrize("launcher", LAUNCHERS.values(), ids=LAUNCHERS)
@pytest.mark.parametrize("variable", ["TINKER_SUBPROCESS_SAMPLING", "TINKER_SIDECAR_REQUIRE"])
def test_a_launcher_says_so_in_one_line(launcher: list[str], variable: str) -> None:
    done = subprocess.run(
        [sys.executable, *launcher, "-c", "print('it ran')"],
        env=os.environ | {variable: "maybe"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"tinker_client: {variable} must be 1, true, yes, on")


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(("word", "on"), [("On", True), ("yes", True), ("0", False), ("none", False)])
def test_telemetry_is_what_the_official_sdk_takes_it_for(
    sim_server: LocalServer, monkeypatch: pytest.MonkeyPatch, word: str, on: bool
) -> None:
    """There every word that does not mean on turns it off: who writes one wants to be left alone."""
    monkeypatch.setenv("TINKER_TELEMETRY", word)
    with connect(sim_server) as service_client:
        assert (service_client.get_telemetry() is not None) == on


@pytest.mark.usefixtures("host")
def test_an_engine_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_SIDECAR_LOCAL_ENGINE", "huge")
    with pytest.raises(TinkerError, match=r"^TINKER_SIDECAR_LOCAL_ENGINE must be tiny or sim, got 'huge'$"):
        ServiceClient(base_url="local")
