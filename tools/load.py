"""What `tools.soak` samples, and what has come of it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tinker_client import APIFuture, NotFoundError, RetryConfig, SamplingClient, types
from tinker_sidecar.local_server.engines.sim import expected_tokens

__all__ = ["ANSWER", "FAULTS", "KEY", "MODEL", "PARAMS", "RETRY", "Load", "Report", "pause", "prompt_of"]

KEY = "tml-soak"
MODEL = "tinker-sidecar/sim"
RETRY = RetryConfig(retry_delay_base=0.02, retry_delay_max=0.5, progress_timeout=120)

# Not on the route of heartbeats, whose gaps are measured; and no 410, after which a request is anew.
FAULTS = [
    f"{route}:{fault}"
    for route in ("asample", "retrieve_future", "retrieve_futures")
    for fault in (
        "500@0.02",
        "503@0.01",
        "408@0.01",
        "429@0.0005",
        "reset@0.02",
        "reset-mid-body@0.01",
        "truncate@0.005",
        "corrupt@0.005",
        "empty@0.005",
        "delay@0.005,seconds=0.5",
        "drip@0.005,seconds=0.5",
    )
]

PARAMS = types.SamplingParams(max_tokens=16, seed=1)

ANSWER = 150.0
"""Seconds in which each request must be answered, whatever happens meanwhile."""


class BrokenPromiseError(Exception):
    """What must never be."""


@dataclass
class Report:
    """What has happened, told by any thread."""

    counts: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    memory: dict[str, list[int]] = field(default_factory=lambda: {"this process": [], "sidecar": []})
    heartbeat_gap: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, times: int = 1) -> None:
        with self._lock:
            self.counts[what] += times

    def broke(self, promise: str) -> None:
        with self._lock:
            self.broken.append(promise)


# Sampling


class Load:
    """Consumers on threads, all of one sampling client, until `stop`."""

    def __init__(self, client: SamplingClient, report: Report, seed: int) -> None:
        self._client = client
        self._report = report
        self._stopped = threading.Event()
        self.session_is_gone = False
        """Whether the server is being restarted: from then on a 404 is what its client must be told."""
        self.asked = self._ended = 0
        self._lock = threading.Lock()
        self._numbers = iter(range(1, 1 << 31)).__next__
        consumers: list[Callable[[random.Random], None]] = [
            self._read_at_once,
            self._read_late,
            self._never_read,
            self._cancel,
            self._cancel_a_thousand,
            self._await,
            self._have_callbacks_raise,
        ]
        self._threads = [
            threading.Thread(
                target=self._consume, args=(consume, random.Random(f"{seed} {consume.__name__}"))
            )
            for consume in consumers
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Also waits for what nobody has read; what does not come is lost."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        deadline = time.monotonic() + ANSWER
        while self._ended < self.asked and time.monotonic() < deadline:
            time.sleep(0.05)
        self._report.count("lost", self.asked - self._ended)

    def _consume(self, consume: Callable[[random.Random], None], dice: random.Random) -> None:
        while not self._stopped.is_set():
            try:
                consume(dice)
            except BrokenPromiseError as broken:
                self._report.broke(f"{consume.__name__.strip('_')}: {broken}")
            except NotFoundError as error:
                if not self.session_is_gone:
                    self._report.broke(f"{consume.__name__.strip('_')}: {error}")
                self._stopped.wait(0.1)
            except Exception as error:  # noqa: BLE001  # A soak reports whatever comes.
                self._report.broke(f"{consume.__name__.strip('_')}: {type(error).__name__}: {error}")
                self._stopped.wait(0.1)

    def _ask(self) -> tuple[int, APIFuture[types.SampleResponse]]:
        number = self._numbers()
        future = self._client.sample(types.ModelInput.from_ints(prompt_of(number)), 1, PARAMS)
        with self._lock:
            self.asked += 1
        self._report.count("requests")
        future.add_done_callback(self._end)
        return number, future

    def _end(self, future: concurrent.futures.Future[Any]) -> None:
        with self._lock:
            self._ended += 1
        if future.cancelled():
            self._report.count("cancelled")
        elif isinstance(future.exception(), NotFoundError):
            self._report.count("told that the session is gone")
        elif future.exception() is None:
            self._report.count("answered")

    def _check(self, number: int, future: APIFuture[types.SampleResponse]) -> None:
        try:
            response = future.result(ANSWER)
        except TimeoutError:
            raise BrokenPromiseError(f"request {number} was not answered within {ANSWER:.0f} s") from None
        self._same(number, response)

    def _same(self, number: int, response: types.SampleResponse) -> None:
        if response.sequences[0].tokens != expected_tokens(prompt_of(number), 1, 0, 16):
            self._report.count("wrong")
            raise BrokenPromiseError(f"request {number} got another's tokens")
        self._report.count("compared")

    def _check_all(self, asked: list[tuple[int, APIFuture[types.SampleResponse]]]) -> None:
        gone: NotFoundError | None = None
        for number, future in asked:
            try:
                self._check(number, future)
            except NotFoundError as error:
                gone = error
        if gone is not None:
            raise gone

    def _read_at_once(self, dice: random.Random) -> None:
        self._check_all([self._ask() for _ in range(dice.randrange(1, 200))])

    def _read_late(self, dice: random.Random) -> None:
        asked = [self._ask() for _ in range(dice.randrange(1, 200))]
        self._stopped.wait(dice.uniform(0, 3))
        self._check_all(asked)

    def _never_read(self, dice: random.Random) -> None:
        never_read = [self._ask() for _ in range(dice.randrange(1, 100))]
        self._report.count("never read", len(never_read))
        self._stopped.wait(dice.uniform(0.1, 0.5))

    def _cancel(self, dice: random.Random) -> None:
        asked = [self._ask() for _ in range(dice.randrange(1, 100))]
        self._stopped.wait(dice.uniform(0, 0.1))
        kept = []
        for number, future in asked:
            if dice.random() < 0.5 or not future.cancel():
                kept.append((number, future))
        self._check_all(kept)

    def _cancel_a_thousand(self, dice: random.Random) -> None:
        asked = [self._ask() for _ in range(1000)]
        self._stopped.wait(dice.uniform(0, 0.2))
        kept = [(number, future) for number, future in asked if not future.cancel()]
        self._check_all(kept)
        self._stopped.wait(dice.uniform(1, 3))

    def _have_callbacks_raise(self, dice: random.Random) -> None:
        """Each is called once, and nobody else's result is late for it."""
        raised: Counter[int] = Counter()

        def broken(number: int, error: type[BaseException], _: object) -> None:
            raised[number] += 1
            raise error

        asked = [self._ask() for _ in range(dice.randrange(1, 50))]
        for number, future in asked:
            error = dice.choice((ZeroDivisionError, SystemExit, KeyboardInterrupt, asyncio.CancelledError))
            with suppress(BaseException):  # At once, here, if the result is there already.
                future.add_done_callback(partial(broken, number, error))
        self._check_all(asked)
        deadline = time.monotonic() + ANSWER
        while len(raised) < len(asked) and time.monotonic() < deadline:
            time.sleep(0.01)  # A result is there before its callbacks are called.
        if set(raised.values()) != {1} or len(raised) != len(asked):
            raise BrokenPromiseError("a callback was not called once")
        self._report.count("callbacks that raised", len(asked))

    def _await(self, dice: random.Random) -> None:
        async def one(number: int, future: APIFuture[types.SampleResponse]) -> None:
            self._same(number, await future.result_async(ANSWER))

        async def many() -> None:
            await asyncio.gather(*(one(*self._ask()) for _ in range(dice.randrange(1, 200))))

        asyncio.run(many())


def pause(pid: int, seconds: float) -> None:
    """Stop a process for a while."""
    os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def prompt_of(number: int) -> list[int]:
    return [number % 30_000, number // 30_000, 7]
