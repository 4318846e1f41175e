"""The check for leaks sees each kind of leak."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests import leaks


@contextmanager
def a_process() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        yield
    finally:
        process.communicate()


@contextmanager
def a_thread(**options: object) -> Iterator[None]:
    end = threading.Event()
    thread = threading.Thread(target=end.wait, **options)  # type: ignore[arg-type]
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


@contextmanager
def a_socket_folder() -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="tinker-sidecar-"):
        yield


LEAKS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "process": a_process,
    "thread": a_thread,
    "thread tinker-": lambda: a_thread(name="tinker-something", daemon=True),
    "descriptor": Path(__file__).open,
    "folder": a_socket_folder,
}


@pytest.mark.parametrize("kind", LEAKS)
def test_a_leak_is_seen_until_it_is_mended(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = leaks.belongings()
    with LEAKS[kind](), monkeypatch.context() as patch:
        patch.setattr(leaks, "GRACE", 0.0)
        assert any(leak.startswith(kind) for leak in leaks.leaked(before))
    assert leaks.leaked(before) == []
