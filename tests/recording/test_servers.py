"""`tinker-sidecar serve --record`: a server that records what it answers, and one in front of any other."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.local_server.api import SIM, Api
from tests.recording.asking import EVERYTHING, ask, said
from tests.recording.conftest import Replay, rows
from tests.waiting import wait_until
from tinker_client import (
    NotFoundError,
    RequestFailedError,
    RetryConfig,
    SamplingClient,
    ServiceClient,
)
from tinker_client.local_server import LocalServer, start_local_server


@dataclass(frozen=True)
class Served:
    base_url: str
    service_client: ServiceClient

    def client(self, model: str = SIM, retry_config: RetryConfig | None = None) -> SamplingClient:
        return self.service_client.create_sampling_client(base_model=model, retry_config=retry_config)


Serve = Callable[..., Served]


@pytest.fixture
def serve(host: str) -> Iterator[Serve]:
    """Start a server and connect a client, in either host."""
    with ExitStack() as stack:

        def start(engine: str, *options: str) -> Served:
            server = stack.enter_context(closing(start_local_server(engine, *options)))
            client = stack.enter_context(ServiceClient(base_url=server.base_url, api_key="tml-secret"))
            return Served(server.base_url, client)

        yield start


def ask_twice(client: SamplingClient) -> list[Any]:
    """For all there is, and for little."""
    return [said(ask(client, 1, 2, 3, 4, **EVERYTHING)), said(ask(client, 5))]


def test_a_server_records_what_it_answers(serve: Serve, folder: Path, replay: Replay) -> None:
    recorded = ask_twice(serve("sim", "--latency", "0", "--record", str(folder)).client())
    wait_until(lambda: rows(folder, "SELECT count(*) FROM results") == [(2,)])
    assert ask_twice(replay()) == recorded


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
def test_in_front_of_another_server(serve: Serve, folder: Path, replay: Replay, encoding: str) -> None:
    behind = serve("sim", "--result-encoding", encoding, "--inline-result-bytes", "100")
    front = serve("tinker", "--upstream", behind.base_url, "--record", str(folder))
    recorded = ask_twice(front.client())
    capabilities = front.service_client.get_server_capabilities()
    assert capabilities == behind.service_client.get_server_capabilities()
    wait_until(lambda: rows(folder, "SELECT model, count(*) FROM results") == [(SIM, 2)])
    assert ask_twice(replay()) == recorded


def test_errors_and_faults_pass_through_and_are_not_recorded(serve: Serve, folder: Path) -> None:
    behind = serve("sim", "--fault", "retrieve_future:503,first=2", "--fail-token", "7")
    front = serve("tinker", "--upstream", behind.base_url, "--record", str(folder))
    with pytest.raises(NotFoundError, match="not served here"):
        ask(front.client("none"), 1)
    client = front.client()
    with pytest.raises(RequestFailedError, match="which is set to fail"):
        ask(client, 7)
    ask(client, 8)
    wait_until(lambda: rows(folder, "SELECT count(*) FROM results") == [(1,)])


def test_the_server_behind_is_gone() -> None:
    """A client tries again, as at any 502."""
    with closing(start_local_server("tinker", "--upstream", "http://127.0.0.1:9")) as front:
        answer = Api(front.base_url).get("healthz")
    assert answer.status == 502
    assert answer.detail.startswith("the server behind this one does not answer: ")


def test_a_server_behind_that_does_not_answer_is_told_of() -> None:
    command = [sys.executable, "-m", "tinker_sidecar.local_server", "--port=0", "--engine=tinker"]
    with subprocess.Popen(
        [*command, "--upstream=http://127.0.0.1:9"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.terminate()
        _, told = process.communicate()
    reason = "http://127.0.0.1:9 does not answer (ConnectionError): until it answers, clients are told 502"
    assert told == f"tinker-sidecar serve: WARNING: {reason}\n"


def test_both_sides_record_and_it_is_there_once(
    record: Callable[..., object], folder: Path, sim_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(start_local_server("sim", "--record", str(folder))) as server:
        monkeypatch.setattr(sim_server, "base_url", server.base_url)
        record(lambda client: [ask(client, 1)])
    assert rows(folder, "SELECT count(*) FROM results") == [(1,)]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--engine", "tinker"), "--engine tinker needs --upstream URL, the http:// or https:// address"),
        (("--engine", "tinker", "--upstream", "http://a:b"), "--engine tinker needs --upstream URL"),
        (("--engine", "replay"), "--engine replay needs --from DIR, a folder that was recorded to"),
        (("--engine", "replay", "--from", ".", "--record", "."), "--record and --from must be two folders"),
        (("--record", "/proc/none"), "cannot record in /proc/none: "),
    ],
)
def test_options_that_make_no_sense(options: tuple[str, ...], complaint: str) -> None:
    command = [sys.executable, "-m", "tinker_sidecar.local_server", "--port", "0", *options]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode == 1
    assert run.stderr.startswith(f"tinker-sidecar serve: {complaint}")
    assert run.stderr.count("\n") == 1
