"""The client as programs use it: its calls and futures, copies and handles, settings and credentials."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.client.copies import KEY
from tinker_client import SamplingClient, ServiceClient
from tinker_client.local_server import LocalServer, start_local_server


@pytest.fixture(scope="session")
def never_server() -> Iterator[LocalServer]:
    """Takes longer over a request than any test here."""
    with closing(start_local_server("sim", "--latency", "600")) as server:
        yield server


@pytest.fixture
def key_server() -> Iterator[LocalServer]:
    """A server that lets in `KEY` alone."""
    with closing(start_local_server("sim", "--latency", "0.01", "--api-key", KEY)) as server:
        yield server


@pytest.fixture
def client(service_client: ServiceClient) -> SamplingClient:
    return service_client.create_sampling_client(base_model="tinker-sidecar/sim")


@pytest.fixture
def never_client(host: str, never_server: LocalServer) -> Iterator[SamplingClient]:
    """One whose requests stay unanswered."""
    with ServiceClient(base_url=never_server.base_url, api_key="tml-tests") as service_client:
        yield service_client.create_sampling_client(base_model="tinker-sidecar/sim")
