"""The parts of the engine, each by itself: its decoders, limits, batches, polls and timers."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """Tests that are coroutines, marked `anyio`, run in an event loop of the engine's kind."""
    return "asyncio"
