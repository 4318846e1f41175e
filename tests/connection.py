"""A client connected to a server of its own, which behaves as the test's options say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from tests.local_server.api import SIM, Api
from tinker_client import APIFuture, RetryConfig, SamplingClient, ServiceClient, types
from tinker_client.local_server import start_local_server
from tinker_sidecar.local_server.engines.sim import expected_tokens

__all__ = [
    "HOSTS",
    "PARAMS",
    "RETRY",
    "Connect",
    "Connection",
    "assert_right",
    "connect",
    "connect_in",
    "flag",
    "option",
    "prompt",
]

PARAMS = types.SamplingParams(max_tokens=8, seed=3)
RETRY = RetryConfig(retry_delay_base=0.01, retry_delay_max=0.05, progress_timeout=25)


@dataclass(frozen=True)
class Connection:
    base_url: str
    service_client: ServiceClient
    retry_config: RetryConfig

    def sampling_client(self, client_type: type[SamplingClient] = SamplingClient) -> SamplingClient:
        client = self.service_client.create_sampling_client(base_model=SIM, retry_config=self.retry_config)
        client.__class__ = client_type  # As tools do that trace calls.
        return client

    def requests(self, route: str) -> list[dict[str, Any]]:
        """The requests on `route` that the server has answered, in the order in which they came."""
        requests = [request for request in self.log["requests"] if request["route"] == route]
        return sorted(requests, key=lambda request: request["came"])

    @property
    def log(self) -> dict[str, Any]:
        log: dict[str, Any] = Api(self.base_url).get("/local/requests").json
        return log

    @property
    def submitted(self) -> int:
        """How many samples the server has begun to work on."""
        return self._noted("submitted")

    @property
    def heartbeats(self) -> int:
        """How many the server has had."""
        return self._noted("heartbeats")

    def _noted(self, what: str) -> int:
        sessions = Api(self.base_url).get("/local/journal").json["sessions"].values()
        return sum(len(session[what]) for session in sessions)

    def check_samples(self, count: int = 40, timeout: float = 30) -> None:
        """Sample `count` prompts at once: each must get what the engine said to it."""
        client = self.sampling_client()
        futures = {number: client.sample(prompt(number), 2, PARAMS) for number in range(count)}
        for number, future in futures.items():
            assert_right(number, future, timeout)


def prompt(number: int) -> types.ModelInput:
    return types.ModelInput.from_ints([number, 7])


def assert_right(number: int, future: APIFuture[types.SampleResponse], timeout: float = 30) -> None:
    tokens = [sequence.tokens for sequence in future.result(timeout).sequences]
    assert tokens == [expected_tokens([number, 7], PARAMS.seed, index, 8) for index in range(2)]


Connect = Callable[..., Connection]
HOSTS = {"in_process": "0", "sidecar": "1", "shared": "shared"}
"""Where an engine may run: in the program's own process, in a sidecar of its own, in one that is shared."""


@pytest.fixture
def connect_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Start a `sim` server with the options given and connect a client in the host named first.

    For tests that must wait long, and so wait for all hosts at once.
    """
    with ExitStack() as stack:

        def start(host: str, *options: str, retry_config: RetryConfig = RETRY) -> Connection:
            server = stack.enter_context(closing(start_local_server("sim", "--latency", "0.01", *options)))
            monkeypatch.setenv("TINKER_SUBPROCESS_SAMPLING", HOSTS[host])
            service_client = ServiceClient(base_url=server.base_url, api_key="tml-tests")
            return Connection(server.base_url, stack.enter_context(service_client), retry_config)

        yield start


@pytest.fixture
def connect(host: str, connect_in: Connect) -> Connect:
    """Start a `sim` server with the options given and connect a client, in each host."""
    return partial(connect_in, host)


def option(name: str, *values: str) -> list[str]:
    """`--name value` for each value."""
    return [argument for value in values for argument in (f"--{name}", value)]


def flag(name: str, value: object) -> list[str]:
    """Have the server hand its clients this flag."""
    return option("client-config", f"{name}={str(value).lower()}")
