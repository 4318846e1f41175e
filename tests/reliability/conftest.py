"""What may happen to a program and its machine, from signals and forks to full disks and strangers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.reliability.programs import Launch, Program
from tinker_client.local_server import LocalServer, start_local_server


@pytest.fixture(scope="session")
def slow_server() -> Iterator[LocalServer]:
    """Its answers take minutes: what a test has in flight there is still so at the test's end."""
    with closing(start_local_server("sim", "--latency", "300")) as server:
        yield server


@pytest.fixture
def launch(temporary: Path, sim_server: LocalServer) -> Iterator[Launch]:
    """Start a program, which ends with the test at the latest.

    Options are those of `Program` and: the `server` it talks to, which `sidecar` it has, and `variables`
    of its environment (None: without that one).
    """
    with ExitStack() as stack:

        def start(
            code: str,
            *,
            server: LocalServer = sim_server,
            sidecar: bool | str = True,
            variables: Mapping[str, str | None] | None = None,
            **options: Any,
        ) -> Program:
            environment: dict[str, str | None] = {
                **os.environ,
                "TINKER_BASE_URL": server.base_url,
                "TINKER_API_KEY": "tml-tests",
                "TINKER_SUBPROCESS_SAMPLING": str(sidecar),
                "TMPDIR": str(temporary),
                # From 3.12 on Python warns of every fork in a program with threads, as ours are meant to be.
                "PYTHONWARNINGS": "ignore::DeprecationWarning",
                **(variables or {}),
            }
            given = {name: value for name, value in environment.items() if value is not None}
            program = Program(code, temporary, given, **options)
            stack.callback(program.end)
            return program

        yield start
