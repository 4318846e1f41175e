"""What the engine says in the program's log without having been asked."""

from __future__ import annotations

import logging
import re

import psutil
import pytest

import tinker_client
from tests.connection import PARAMS, Connect, Connection, option, prompt
from tests.local_server.api import SIM
from tests.waiting import wait_until
from tinker_client import ServiceClient, TinkerError
from tinker_client.local_server import LocalServer, start_local_server

TOLD_OF_REFUSALS = r"^WARNING the server has answered 429 \(too many requests\) \d+ times in \d+ s, in which "


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """What has been logged so far, as `LEVEL message`."""
    caplog.set_level(logging.INFO, "tinker_sidecar")
    return Lines(caplog)


class Lines(list[str]):
    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def matching(self, pattern: str) -> list[str]:
        said = [f"{record.levelname} {record.getMessage()}" for record in self._caplog.records]
        return [line for line in said if re.search(pattern, line)]

    def wait_for(self, pattern: str) -> None:
        wait_until(lambda: self.matching(pattern), show=lambda: self.matching(""))


def server_of(connection: Connection) -> psutil.Process:
    """The process that serves `connection`."""
    port = int(connection.base_url.rpartition(":")[2])
    for process in psutil.Process().children():
        if any(it.laddr.port == port for it in process.net_connections("tcp") if it.status == "LISTEN"):
            return process
    raise AssertionError("there is none")


def test_a_server_that_is_silent(connect: Connect, lines: Lines) -> None:
    connection = connect()
    client = connection.sampling_client()
    client.sample(prompt(0), 1, PARAMS).result(60)
    server = server_of(connection)
    server.suspend()
    try:
        futures = [client.sample(prompt(number), 1, PARAMS) for number in range(3)]
        lines.wait_for(r"^WARNING http://\S+ does not answer\. 3 requests are retried until \d\d:\d\d:\d\d$")
    finally:
        server.resume()
    for future in futures:
        future.result(60)
    lines.wait_for(r"^WARNING http://\S+: answers again after \d+ s$")
    assert len(lines.matching("does not answer")) == 1


def test_a_server_that_falls_silent_while_nothing_is_asked(connect: Connect, lines: Lines) -> None:
    """The next heartbeat finds out."""
    connection = connect("--latency=600")
    client = connection.sampling_client()
    futures = [client.sample(prompt(number), 1, PARAMS) for number in range(3)]
    wait_until(lambda: tinker_client.stats().in_flight_by_stage["server"] == 3)
    server = server_of(connection)
    server.suspend()
    try:
        lines.wait_for(r"^WARNING \S+ does not answer\. 3 requests are retried until")
        assert "the server does not answer since" in tinker_client.status()
    finally:
        server.resume()
    lines.wait_for(r"^WARNING http://\S+: answers again after \d+ s$")
    for future in futures:
        future.cancel()


def test_a_bill_that_is_paid(connect: Connect, lines: Lines) -> None:
    client = connect(*option("fault", "asample:402,first=2")).sampling_client()
    futures = [client.sample(prompt(number), 1, PARAMS) for number in range(2)]
    lines.wait_for(r"^WARNING sampling is paused until billing is sorted out")
    wait_until(lambda: tinker_client.stats().sessions[0].limits["paid"].waiting == 2)
    for future in futures:
        future.result(60)
    assert tinker_client.stats().sessions[0].limits["paid"].limit is None
    lines.wait_for(r"^WARNING billing is sorted out: sampling goes on after \d+ s$")


def test_books_that_are_full(
    connect: Connect, lines: Lines, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINKER_SIDECAR_MAX_REQUESTS", "2")
    client = connect("--latency=0.5").sampling_client()
    futures = [client.sample(prompt(number), 1, PARAMS) for number in range(4)]
    lines.wait_for(r"^WARNING 2 requests are in flight, as many as may be: sample\(\) waits")
    for future in futures:
        future.result(60)
    lines.wait_for(r"^WARNING sample\(\) waits no more, after \d+ s$")


def test_a_server_that_is_gone(host: str, lines: Lines) -> None:
    server = start_local_server("sim")
    with ServiceClient(base_url=server.base_url, api_key="tml-tests") as service_client:
        client = service_client.create_sampling_client(base_model=SIM)
        client.sample(prompt(0), 1, PARAMS).result(60)
        server.close()
        future = client.sample(prompt(1), 1, PARAMS)
        lines.wait_for(r"^WARNING cannot reach \S+: .*refused.*\. 1 request is retried until \d\d:")
        assert tinker_client.stats().sessions[0].unreachable_for > 0
        future.cancel()


def test_a_server_that_refuses_some(connect: Connect, lines: Lines) -> None:
    client = connect(*option("fault", "asample:429@0.2"), "--latency=0.3").sampling_client()

    def is_told() -> bool:
        for future in [client.sample(prompt(number), 1, PARAMS) for number in range(20)]:
            future.result(60)
        return bool(lines.matching(TOLD_OF_REFUSALS))

    wait_until(is_told, show=lambda: lines.matching(""))
    lines.wait_for(r"^WARNING the server refuses nothing any more \(429\), after \d+ s$")


def test_a_server_that_refuses_all(connect: Connect, lines: Lines) -> None:
    client = connect(*option("fault", "asample:429")).sampling_client()
    futures = [client.sample(prompt(number), 1, PARAMS) for number in range(20)]
    lines.wait_for(TOLD_OF_REFUSALS + r"0 requests have finished; \d+ wait for room there")
    for future in futures:
        future.cancel()


def test_who_waits_for_room_at_the_server_is_counted_once(connect: Connect, lines: Lines) -> None:
    client = connect("--slots=4", "--latency=0.5").sampling_client()
    futures = [client.sample(prompt(number), 1, PARAMS) for number in range(100)]
    lines.wait_for(TOLD_OF_REFUSALS + r".* \d+ wait for room there")
    told = lines.matching("wait for room there")[0]
    assert int(told.split("; ")[1].split()[0]) <= 100
    for future in futures:
        future.result(60)


def test_a_summary(connect: Connect, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_SIDECAR_LOG_INTERVAL", "0.5")
    client = connect("--latency=2").sampling_client()
    futures = [client.sample(prompt(number), 1, PARAMS) for number in range(4)]
    lines.wait_for(r"^INFO 0 requests finished .*; 4 in flight \(server 4\), the oldest for \d+ s")
    for future in futures:
        future.result(60)
    lines.wait_for(r"^INFO 4 requests finished in \d+ s; .* time went: .*server \d+%")


def test_a_summary_of_what_was_over_before_it_was_due(
    connect: Connect, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a loop that samples for half a minute, and trains for as long."""
    monkeypatch.setenv("TINKER_SIDECAR_LOG_INTERVAL", "6")
    connect().sampling_client().sample(prompt(1), 1, PARAMS).result(60)
    lines.wait_for(r"^INFO 1 requests finished in \d+ s; .* none in flight")


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("TINKER_SIDECAR_LOG", "loud", "TINKER_SIDECAR_LOG must be one of debug, info, warning, got 'loud'"),
        ("TINKER_SIDECAR_LOG_INTERVAL", "-1", "TINKER_SIDECAR_LOG_INTERVAL must be seconds"),
        ("TINKER_SIDECAR_METRICS", "no port", "TINKER_SIDECAR_METRICS is not [HOST:]PORT"),
        ("TINKER_SIDECAR_METRICS", "70000", "TINKER_SIDECAR_METRICS is not [HOST:]PORT"),
        ("TINKER_SIDECAR_WHO", "maybe", "TINKER_SIDECAR_WHO must be 1"),
    ],
)
def test_a_malformed_variable(
    host: str,
    sim_server: LocalServer,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    message: str,
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(TinkerError, match=re.escape(message)):
        ServiceClient(base_url=sim_server.base_url, api_key="tml-tests")


@pytest.mark.parametrize("level", ["debug", "info", "warning"])
def test_the_level(
    connect: Connect, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    """Debug lines tell of each retry."""
    logger = logging.getLogger("tinker_sidecar")
    caplog.set_level(logger.level, logger.name)  # In process it is the same logger: this puts it back.
    monkeypatch.setenv("TINKER_SIDECAR_LOG", level)
    caplog.set_level(logging.DEBUG)
    connection = connect(*option("fault", "asample:503,first=2"))
    connection.check_samples(3)
    if level == "debug":
        wait_until(lambda: "503" in caplog.text, show=lambda: caplog.text)
    else:
        assert "503" not in caplog.text
