"""An event loop that is blocked keeps results waiting, though the GIL is free; who blocks it is told."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from pathlib import Path

import pytest

import tinker_client
from tests.connection import PARAMS, Connect, prompt
from tests.waiting import wait_until
from tests.watch.gil_programs import WAITED, line_of
from tinker_client import SamplingClient


def block(seconds: float) -> None:
    """Keep the loop, and not the GIL."""
    time.sleep(seconds)  # blocking


@pytest.fixture(autouse=True)
def _ready_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_SIDECAR_WHO", "1")


async def block_while_results_come(client: SamplingClient) -> None:
    """Sample once in peace, so that whoever looks is ready."""
    await client.sample_async(prompt(0), 2, PARAMS)
    tasks = [asyncio.create_task(client.sample_async(prompt(number), 2, PARAMS)) for number in range(8)]
    await asyncio.sleep(0.1)
    block(4.0)
    await asyncio.gather(*tasks)


def test_the_line_that_blocks_is_named_and_the_time_is_delivery(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    client = connect("--latency", "0.3").sampling_client()
    asyncio.run(block_while_results_come(client))
    place = f"block() at {Path(__file__).name}:{line_of(Path(__file__).read_text(), '# blocking')}"
    told = rf"{WAITED}; event loop blocked by {re.escape(place)}, thread \"MainThread\""
    wait_until(lambda: any(re.fullmatch(told, it) for it in caplog.messages), show=lambda: caplog.messages)
    wait_until(lambda: tinker_client.stats().last_60s.finished == 9)
    wait_until(lambda: tinker_client.stats().gil)  # In process the one who looks tells it every second.
    stats = tinker_client.stats()
    stages = stats.last_60s.stages
    assert max(stages, key=lambda stage: stages[stage].total) == "delivery"
    assert stages["delivery"].max > 2.0 > stages["server"].max
    assert [holder.place for holder in stats.gil] == [place]


def test_a_loop_that_is_closed_with_results_undelivered_keeps_nobody_waiting(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    client = connect("--latency", "0.3").sampling_client()
    loop = asyncio.new_event_loop()

    async def leave() -> None:
        task = asyncio.create_task(client.sample_async(prompt(1), 2, PARAMS))
        await asyncio.sleep(0.1)
        block(1.0)  # The result is there by now.
        tasks.append(task)

    tasks: list[asyncio.Task[object]] = []
    caplog.set_level(logging.CRITICAL, "asyncio")  # It says that the task was destroyed.
    loop.run_until_complete(leave())
    loop.close()
    wait_until(lambda: tinker_client.stats().in_flight == 0)


def test_a_loop_that_does_not_run_keeps_nobody_waiting(connect: Connect) -> None:
    client = connect("--latency", "0.3").sampling_client()
    loop = asyncio.new_event_loop()

    async def leave() -> asyncio.Task[object]:
        task = asyncio.create_task(client.sample_async(prompt(1), 2, PARAMS))
        await asyncio.sleep(0.1)
        block(1.0)
        return task

    task = loop.run_until_complete(leave())
    wait_until(lambda: tinker_client.stats().in_flight == 0)
    loop.run_until_complete(task)
    loop.close()
