"""What runs in the background goes on, whatever happens to it."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tinker_sidecar.supervision import go_on


def test_an_unexpected_error_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    errors = iter([OSError("out of descriptors"), None, OverflowError("a number too large"), None])
    steps = 0

    async def step() -> bool:
        nonlocal steps
        steps += 1
        if (error := next(errors)) is not None:
            raise error
        return steps < 4

    asyncio.run(go_on("chores", step))
    assert steps == 4
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert "unexpected error in chores" in caplog.text
    assert "out of descriptors" in caplog.text


def test_it_can_be_cancelled() -> None:
    async def main() -> None:
        task = asyncio.create_task(go_on("chores", step))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def step() -> bool:
        begun.set()
        raise OSError

    begun = asyncio.Event()
    asyncio.run(main())
