"""Recordings: made in either host or by a server, and replayed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

import tinker_client
from tests.local_server.api import SIM
from tinker_client import SamplingClient, ServiceClient
from tinker_client.local_server import LocalServer, start_local_server
from tinker_sidecar.recording.database import FILE

Replay = Callable[..., SamplingClient]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a recording goes. It does not exist yet."""
    return tmp_path / "rollouts"


@pytest.fixture
def record(
    folder: Path,
    host: str,
    sim_server: LocalServer,
    tiny_server: LocalServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Any]:
    """Record what a function samples of a model, in either host."""

    def recorded(ask: Callable[[SamplingClient], Any], model: str = SIM) -> Any:
        server = sim_server if model == SIM else tiny_server
        with monkeypatch.context() as patch:
            patch.setenv("TINKER_SIDECAR_RECORD", str(folder))
            with ServiceClient(base_url=server.base_url, api_key="tml-secret") as client:
                results = ask(client.create_sampling_client(base_model=model))
            tinker_client.shutdown()  # The next engine reads the environment again.
        return results

    return recorded


@pytest.fixture
def replay(folder: Path) -> Iterator[Replay]:
    """A client of a server that replays the recording, started with the options given."""
    with ExitStack() as stack:

        def start(*options: str, model: str = SIM) -> SamplingClient:
            server = start_local_server("replay", "--from", str(folder), *options)
            stack.enter_context(closing(server))
            client = stack.enter_context(ServiceClient(base_url=server.base_url, api_key="tml-tests"))
            return client.create_sampling_client(base_model=model)

        yield start


def rows(folder: Path, query: str) -> list[Any]:
    """What a reader of the file sees, as SQLite's own command does."""
    with closing(sqlite3.connect(folder / FILE)) as database:
        return database.execute(query).fetchall()
