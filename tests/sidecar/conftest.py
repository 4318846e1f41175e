"""The sidecar as a process: it works while its program cannot, is replaced when it dies, and goes with it."""

from __future__ import annotations

import os
from collections.abc import Callable

import psutil
import pytest


@pytest.fixture(autouse=True)
def _in_the_sidecar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_SUBPROCESS_SAMPLING", "1")


@pytest.fixture
def sidecars() -> Callable[[], list[psutil.Process]]:
    """The sidecars of this process that are alive."""

    def find() -> list[psutil.Process]:
        return [child for child in psutil.Process(os.getpid()).children() if _is_sidecar(child)]

    return find


def _is_sidecar(process: psutil.Process) -> bool:
    try:
        return process.cmdline()[-2:] == ["-m", "tinker_sidecar"]
    except psutil.NoSuchProcess:  # It has just ended, and may be a zombie.
        return False
