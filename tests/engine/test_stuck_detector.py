"""The stuck detector fails what is pending when nothing finishes any more, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable

import pytest

from tinker_sidecar.engine.failures import EngineError
from tinker_sidecar.engine.reminders import Reminders
from tinker_sidecar.engine.stuck_detector import StuckDetector

pytestmark = pytest.mark.anyio

TIMEOUT = 0.2


def detector(
    timeout: float = TIMEOUT, excused: Callable[[], bool] = lambda: False, trouble: Callable[[], str] = str
) -> StuckDetector:
    return StuckDetector("s:sample:0", timeout, Reminders(), excused, trouble, lambda failure: None)


class FailedError(Exception):
    """How a request fails that is not stuck."""


async def until(end: asyncio.Event, *, fails: bool) -> None:
    await end.wait()
    if fails:
        raise FailedError


async def work(detector: StuckDetector, seq_id: int, end: asyncio.Event, *, fails: bool = False) -> None:
    """A request under watch, until `end`."""
    task = detector.begin(seq_id)
    try:
        with contextlib.suppress(FailedError):
            await until(end, fails=fails)
            detector.progressed()
    except asyncio.CancelledError:
        detector.raise_if_stuck(task)
        raise
    finally:
        detector.end(task)


async def at_once(detector: StuckDetector, seq_id: int, *, fails: bool = False) -> None:
    """A request that is over as soon as it has begun."""
    end = asyncio.Event()
    end.set()
    await asyncio.create_task(work(detector, seq_id, end, fails=fails))


async def test_all_that_is_pending_fails_and_is_named() -> None:
    watched = detector()
    tasks = [asyncio.create_task(work(watched, seq_id, asyncio.Event())) for seq_id in range(5, 17)]
    for error in await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20):
        assert isinstance(error, EngineError)
        assert error.failure.kind == "APIConnectionError"
        assert "no request of s:sample:0 has finished for 0 s (RetryConfig.progress_timeout)" in str(error)
        assert re.search(r"5 \(\d s\), 6 \(\d s\), .*, 14 \(\d s\) and 2 more$", str(error))


async def test_its_cancellation_leaves_no_trace_in_the_task() -> None:
    """Else an `asyncio.timeout` around the request would take the error for its own."""
    with pytest.raises(EngineError, match="stuck"):
        await work(detector(), 0, asyncio.Event())
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_caller_who_cancels_is_no_stuck_request() -> None:
    watched = detector()
    task = asyncio.create_task(work(watched, 0, asyncio.Event()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    watched.close()


async def test_who_finishes_keeps_the_others_alive() -> None:
    watched = detector(timeout=1)
    end = asyncio.Event()
    slow = asyncio.create_task(work(watched, 0, end))
    for seq_id in range(1, 16):  # Half as long again as the time-out.
        await asyncio.sleep(0.1)
        await at_once(watched, seq_id)
    end.set()
    await slow
    watched.close()


async def test_who_fails_keeps_nobody_alive() -> None:
    watched = detector()
    slow = asyncio.create_task(work(watched, 0, asyncio.Event()))
    while not slow.done():
        await at_once(watched, 1, fails=True)
        await asyncio.sleep(0.01)
    with pytest.raises(EngineError, match="stuck"):
        await slow


async def test_later_requests_are_watched_too() -> None:
    """It does not watch while there is nothing to watch over, and then begins anew."""
    watched = detector()
    await at_once(watched, 0)
    await asyncio.sleep(2 * TIMEOUT)
    with pytest.raises(EngineError, match=r"stuck.*: 1 \(\d s\)$"):
        await asyncio.wait_for(work(watched, 1, asyncio.Event()), 20)
    with pytest.raises(EngineError, match=r"stuck.*: 2 \(\d s\)$"):
        await asyncio.wait_for(work(watched, 2, asyncio.Event()), 20)


async def test_nobody_is_blamed_for_what_was_before() -> None:
    """The time in which nothing was pending does not count."""
    watched = detector(timeout=1.5)
    await at_once(watched, 0)
    await asyncio.sleep(1)
    end = asyncio.Event()
    later = asyncio.create_task(work(watched, 1, end))
    await asyncio.sleep(0.9)
    end.set()
    await later
    watched.close()


async def test_while_waiting_is_excused_nothing_is_stuck() -> None:
    excused = True
    watched = detector(excused=lambda: excused)
    slow = asyncio.create_task(work(watched, 0, asyncio.Event()))
    await asyncio.sleep(3 * TIMEOUT)
    assert not slow.done()
    excused = False
    with pytest.raises(EngineError, match="stuck"):
        await asyncio.wait_for(slow, 20)


async def test_closed_it_fails_nobody() -> None:
    watched = detector()
    end = asyncio.Event()
    slow = asyncio.create_task(work(watched, 0, end))
    await asyncio.sleep(0)
    watched.close()
    await asyncio.sleep(3 * TIMEOUT)
    end.set()
    await slow
