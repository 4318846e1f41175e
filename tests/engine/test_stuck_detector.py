"""The stuck detector fails what is pending when nothing finishes any more, and nothing else."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection

import pytest

from tests.engine.answers import ask
from tinker_sidecar.engine.failures import EngineError
from tinker_sidecar.engine.journey import Journey
from tinker_sidecar.engine.reminders import Reminders
from tinker_sidecar.engine.requests import EncodedSpec
from tinker_sidecar.engine.stuck_detector import StuckDetector
from tinker_sidecar.ipc.protocol import Failure, Sample

pytestmark = pytest.mark.anyio

TIMEOUT = 0.2
FIRST_SEQ_ID = 5


class Watched:
    """Requests under watch, each until its end or until it is told that it is stuck."""

    def __init__(self, timeout: float = TIMEOUT, excused: Callable[[], bool] = lambda: False) -> None:
        self.detector = StuckDetector(
            "s:sample:0", FIRST_SEQ_ID, timeout, Reminders(), excused, str, self._are_stuck
        )
        self._ends: dict[int, asyncio.Future[None]] = {}

    def _are_stuck(self, requests: Collection[int], failure: Failure) -> None:
        for request in requests:
            self._ends[request].set_exception(EngineError(failure))

    def begin(self, seq_id: int) -> asyncio.Task[None]:
        """The server has another number for it than the client."""
        request = 100 + seq_id
        sample = Sample(request, 1, seq_id - FIRST_SEQ_ID, 1)
        self.detector.begin(Journey(sample, EncodedSpec(ask()), None, keeps_visits=False))
        self._ends[request] = asyncio.get_running_loop().create_future()
        return asyncio.create_task(self._end(request))

    async def _end(self, request: int) -> None:
        try:
            await self._ends[request]
        finally:
            self.detector.end(request)

    async def finish(self, seq_id: int) -> None:
        self.detector.progressed()
        await self.fail(seq_id)

    async def fail(self, seq_id: int) -> None:
        """It is over, without a result."""
        self._ends[100 + seq_id].set_result(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_all_that_is_pending_fails_and_is_named() -> None:
    watched = Watched()
    tasks = [watched.begin(seq_id) for seq_id in range(5, 17)]
    for error in await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20):
        assert isinstance(error, EngineError)
        assert error.failure.kind == "APIConnectionError"
        assert "no request of s:sample:0 has finished for 0 s (RetryConfig.progress_timeout)" in str(error)
        assert re.search(r"5 \(\d s\), 6 \(\d s\), .*, 14 \(\d s\) and 2 more$", str(error))


async def test_what_is_over_is_not_stuck() -> None:
    watched = Watched()
    over, slow = watched.begin(0), watched.begin(1)
    await watched.fail(0)
    with pytest.raises(EngineError, match=r": 1 \(\d s\)$"):
        await slow
    await over


async def test_who_finishes_keeps_the_others_alive() -> None:
    watched = Watched(timeout=1)
    slow = watched.begin(0)
    for seq_id in range(1, 16):  # Half as long again as the time-out.
        await asyncio.sleep(0.1)
        watched.begin(seq_id)
        await watched.finish(seq_id)
    await watched.finish(0)
    await slow
    watched.detector.close()


async def test_who_fails_keeps_nobody_alive() -> None:
    watched = Watched()
    slow = watched.begin(0)
    while not slow.done():
        watched.begin(1)
        await watched.fail(1)
        await asyncio.sleep(0.01)
    with pytest.raises(EngineError, match="stuck"):
        await slow


async def test_later_requests_are_watched_too() -> None:
    """It does not watch while there is nothing to watch over, and then begins anew."""
    watched = Watched()
    watched.begin(0)
    await watched.finish(0)
    await asyncio.sleep(2 * TIMEOUT)
    with pytest.raises(EngineError, match=r"stuck.*: 1 \(\d s\)$"):
        await asyncio.wait_for(watched.begin(1), 20)
    with pytest.raises(EngineError, match=r"stuck.*: 2 \(\d s\)$"):
        await asyncio.wait_for(watched.begin(2), 20)


async def test_nobody_is_blamed_for_what_was_before() -> None:
    """The time in which nothing was pending does not count."""
    watched = Watched(timeout=1.5)
    watched.begin(0)
    await watched.finish(0)
    await asyncio.sleep(1)
    later = watched.begin(1)
    await asyncio.sleep(0.9)
    await watched.finish(1)
    await later
    watched.detector.close()


async def test_while_waiting_is_excused_nothing_is_stuck() -> None:
    excused = True
    watched = Watched(excused=lambda: excused)
    slow = watched.begin(0)
    await asyncio.sleep(3 * TIMEOUT)
    assert not slow.done()
    excused = False
    with pytest.raises(EngineError, match="stuck"):
        await asyncio.wait_for(slow, 20)


async def test_closed_it_fails_nobody() -> None:
    watched = Watched()
    slow = watched.begin(0)
    watched.detector.close()
    await asyncio.sleep(3 * TIMEOUT)
    await watched.finish(0)
    await slow
