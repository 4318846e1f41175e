from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import pytest

from tinker_sidecar.processes.child import ChildProcess

Start = Callable[..., ChildProcess]


@pytest.fixture
def errors() -> Iterator[IO[bytes]]:
    """The file that children write their errors to."""
    with tempfile.TemporaryFile() as file:
        yield file


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, errors: IO[bytes]) -> Iterator[Start]:
    """Start a child that runs the code given; it ends with the test at the latest."""
    monkeypatch.syspath_prepend(tmp_path)
    with ExitStack() as stack:

        def start(code: str, *arguments: str, **options: dict[str, str]) -> ChildProcess:
            (tmp_path / "program.py").write_text(code)
            child = ChildProcess("program", *arguments, errors=errors, **options)
            stack.callback(child.close)
            stack.callback(child.end, 5, signal.SIGKILL)
            return child

        yield start
