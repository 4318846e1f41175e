"""The machine's clock may be set, forwards or back, as when a laptop wakes or NTP first gets through.

libfaketime shifts what a program and its sidecar read, in the C library. What matters of it are the access
tokens, which age by the wall clock.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import libfaketime
import pytest

from tests.local_server.api import Api
from tests.reliability.programs import Launch, in_its_own_host
from tests.waiting import wait_until
from tinker_client.local_server import LocalServer, start_local_server

pytestmark = in_its_own_host

LIBRARY = Path(libfaketime.__file__).parent / "vendor/libfaketime/src/libfaketime.so.1"

SAMPLING = """
client = connect()
sample(client, range(10))
futures = {number: ask(client, number) for number in range(1000)}
before = time.time()
say("sampling")
go_on()
while abs(time.time() - before) < 86400:
    time.sleep(0.01)
time.sleep(1.5)  # The sidecar looks at its clock once a second, too.
check(futures)
sample(client, range(10))
"""


class Clock:
    """Of all programs that run with its `variables`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.variables = {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(path),
            # In seconds. With less, threads that read it at the same time now and then see times far off.
            "FAKETIME_CACHE_DURATION": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        self.set("+0d")

    def set(self, shift: str) -> None:
        new = self._path.with_suffix(".new")
        new.write_text(shift)
        new.replace(self._path)

    def works(self) -> bool:
        """Not on every kind of machine: the package brings a library for one."""
        year = [sys.executable, "-c", "import time; print(time.gmtime().tm_year)"]
        self.set("+3650d")
        years = [
            int(subprocess.check_output(year, env={**os.environ, **variables}, stderr=subprocess.DEVNULL))
            for variables in ({}, self.variables)
        ]
        self.set("+0d")
        return years[1] - years[0] in (9, 10)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    clock = Clock(tmp_path / "clock")
    if not clock.works():
        pytest.skip("libfaketime does not work on this machine")
    return clock


@pytest.fixture
def server_clock(tmp_path: Path, clock: Clock) -> Clock:
    return Clock(tmp_path / "server_clock")


@pytest.fixture
def server(server_clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    """Has clients buy tokens, which are good for an hour."""
    with monkeypatch.context() as environment:
        for name, value in server_clock.variables.items():
            environment.setenv(name, value)
        server = start_local_server("sim", "--latency", "0.3", "--jwt")
    with closing(server):
        yield server


def test_forwards(launch: Launch, server: LocalServer, clock: Clock, *, sidecar: bool) -> None:
    """The token looks too old, and another is bought."""
    program = launch(SAMPLING, server=server, variables=clock.variables, sidecar=sidecar)
    program.expect("sampling")
    clock.set("+10d")
    program.go_on()
    program.assert_ends_well()
    assert_few_tokens_bought(server)


def test_back(
    launch: Launch, server: LocalServer, clock: Clock, server_clock: Clock, *, sidecar: bool
) -> None:
    """The token looks good for days to come, until the server refuses it."""
    program = launch(SAMPLING, server=server, variables=clock.variables, sidecar=sidecar)
    program.expect("sampling")
    token = Api(server.base_url).post("auth/token", {}).json["jwt"]
    clock.set("-10d")
    server_clock.set("+2h")
    # The server reads its clock's file once a second, and by then all might be done.
    stranger = Api(server.base_url, token)
    wait_until(lambda: stranger.get("get_server_capabilities").status == 401)
    program.go_on()
    program.assert_ends_well()
    refused = {request["route"] for request in requests(server) if request["status"] == 401}
    assert refused - {"get_server_capabilities"}
    assert_few_tokens_bought(server, by_others=1)


def assert_few_tokens_bought(server: LocalServer, by_others: int = 0) -> None:
    bought = [request["status"] for request in requests(server) if request["route"] == "auth/token"]
    assert set(bought) == {200}
    assert 2 <= len(bought) - by_others <= 10


def requests(server: LocalServer) -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = Api(server.base_url).get("/local/requests").json["requests"]
    return answer
