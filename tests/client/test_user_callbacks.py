"""Done-callbacks and log handlers are the user's own: whatever they do, results keep coming."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import psutil
import pytest

import tinker_client
from tinker_client import APIFuture, SamplingClient, ServiceClient, types
from tinker_client.local_server import LocalServer, start_local_server
from tinker_sidecar.local_server.engines.sim import expected_tokens

PROMPT = types.ModelInput.from_ints([1, 2, 3])
PARAMS = types.SamplingParams(max_tokens=4, seed=0)
TOKENS = expected_tokens([1, 2, 3], 0, 0, 4)

Future = APIFuture[types.SampleResponse]


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    """It takes its time, so that a callback is there before the result."""
    with closing(start_local_server("sim", "--latency", "0.3")) as server:
        yield server


@pytest.fixture
def client(host: str, server: LocalServer) -> Iterator[SamplingClient]:
    with ServiceClient(base_url=server.base_url, api_key="tml-tests") as service_client:
        yield service_client.create_sampling_client(base_model="tinker-sidecar/sim")


def submit(client: SamplingClient, count: int) -> list[Future]:
    return [client.sample(PROMPT, 1, PARAMS) for _ in range(count)]


def check(futures: list[Future]) -> None:
    assert [future.result(30).sequences[0].tokens for future in futures] == [TOKENS] * len(futures)


@pytest.mark.parametrize(
    "error", [ZeroDivisionError, SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit]
)
def test_one_that_raises(
    client: SamplingClient, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    """Anything: it is logged, and neither another's result nor another callback suffers."""
    called: list[object] = []

    def broken(future: object) -> None:
        called.append(future)
        raise error("on purpose")

    futures = submit(client, 5)
    for future in futures:
        future.add_done_callback(broken)
        future.add_done_callback(called.append)
    concurrent.futures.wait(futures, 30)
    check(futures + submit(client, 5))
    tinker_client.callbacks.settle(30)
    assert sorted(map(id, called)) == sorted(map(id, futures * 2))
    assert "on purpose" in caplog.text


def test_one_that_raises_where_nobody_waits(client: SamplingClient) -> None:
    """On whichever thread results arrive then, that goes on, and the next results arrive there, too."""

    def broken(_: object) -> None:
        raise SystemExit

    for _ in range(3):
        arrived = threading.Event()
        future = client.sample(PROMPT, 1, PARAMS)
        future.add_done_callback(broken)
        future.add_done_callback(lambda _, arrived=arrived: arrived.set())
        assert arrived.wait(30)


def test_one_that_samples_and_waits(client: SamplingClient) -> None:
    def sample_again(_: object) -> None:
        check(submit(client, 3))
        check(futures)
        waited.set()

    waited = threading.Event()
    futures = submit(client, 20)
    futures[0].add_done_callback(sample_again)
    check(futures)
    assert waited.wait(30)


def test_one_that_runs_an_event_loop(client: SamplingClient) -> None:
    tokens: concurrent.futures.Future[list[int]] = concurrent.futures.Future()

    async def sample() -> list[int]:
        return (await client.sample_async(PROMPT, 1, PARAMS)).sequences[0].tokens

    client.sample(PROMPT, 1, PARAMS).add_done_callback(lambda _: tokens.set_result(asyncio.run(sample())))
    assert tokens.result(30) == TOKENS


def test_one_that_blocks(client: SamplingClient) -> None:
    """Those behind it wait, results do not."""
    go_on, called = threading.Event(), threading.Event()
    first = client.sample(PROMPT, 1, PARAMS)
    first.add_done_callback(lambda _: go_on.wait(30))
    first.add_done_callback(lambda _: called.set())
    check([first, *submit(client, 20)])
    assert not called.is_set()
    go_on.set()
    assert called.wait(30)


def test_one_that_shuts_down(client: SamplingClient) -> None:
    ended = threading.Event()

    def shut_down(_: object) -> None:
        tinker_client.shutdown()
        ended.set()

    client.sample(PROMPT, 1, PARAMS).add_done_callback(shut_down)
    assert ended.wait(30)
    check(submit(client, 3))


def test_each_has_its_own_context(client: SamplingClient) -> None:
    """That in which it was added, as asyncio has it."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    seen: list[tuple[str, str]] = []
    futures = []
    for name in ("one", "other"):
        variable.set(name)
        future = client.sample(PROMPT, 1, PARAMS)
        future.add_done_callback(lambda _, name=name: seen.append((name, variable.get())))
        futures.append(future)
    variable.set("waiting")
    check(futures)
    tinker_client.callbacks.settle(30)
    assert sorted(seen) == [("one", "one"), ("other", "other")]


class BrokenHandler(logging.Handler):
    """One that raises at whatever is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record.getMessage())
        raise SystemExit


@pytest.fixture
def broken_handler() -> Iterator[BrokenHandler]:
    handler = BrokenHandler()
    logging.getLogger().addHandler(handler)
    try:
        yield handler
    finally:
        logging.getLogger().removeHandler(handler)


@pytest.mark.usefixtures("host")
def test_a_log_handler_that_raises(broken_handler: BrokenHandler) -> None:
    paused = 'body={"type": "try_again", "queue_state": "paused_capacity"}'
    with (
        closing(
            start_local_server(
                "sim", "--latency", "0", "--fault", f"retrieve_future:200,first=3,{paused}",
                "--fault", "asample:402,first=1",
            )
        ) as server,
        ServiceClient(base_url=server.base_url, api_key="tml-tests") as service_client,
    ):  # fmt: skip
        client = service_client.create_sampling_client(base_model="tinker-sidecar/sim")
        check(submit(client, 20))
        tinker_client.callbacks.settle(30)
        check(submit(client, 20))
    assert any("paused" in line for line in broken_handler.records)


def test_a_log_handler_that_raises_when_a_sidecar_dies(
    sim_server: LocalServer, monkeypatch: pytest.MonkeyPatch, broken_handler: BrokenHandler
) -> None:
    monkeypatch.setenv("TINKER_SUBPROCESS_SAMPLING", "1")
    with ServiceClient(base_url=sim_server.base_url, api_key="tml-tests") as service_client:
        client = service_client.create_sampling_client(base_model="tinker-sidecar/sim")
        for _ in range(2):
            for child in psutil.Process().children():
                if child.cmdline()[-1:] == ["tinker_sidecar"]:
                    child.kill()
            check(submit(client, 20))


@pytest.mark.usefixtures("host")
def test_ctrl_c_during_one_runs_none_twice(sim_server: LocalServer) -> None:
    """In a program of its own, since the tests' libraries swallow interrupts."""
    program = """
import signal, sys, threading, time
from tinker_client import ServiceClient, types

def interrupt(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
called = []
params = types.SamplingParams(max_tokens=4)
with ServiceClient(base_url=sys.argv[1], api_key="tml-tests") as service_client:
    client = service_client.create_sampling_client(base_model="tinker-sidecar/sim")
    futures = [client.sample(types.ModelInput.from_ints([n + 1]), 1, params) for n in range(300)]
    for n, future in enumerate(futures):
        future.add_done_callback(lambda _, n=n: called.append(n))
        future.add_done_callback(lambda _, n=n: called.append(n + 1000))
    interrupts = 0
    for future in futures:
        while not future.done():
            try:
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.001)
                    future.result(30)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupts += 1
    while len(called) < 600:
        time.sleep(0.01)
    print(interrupts > 0, sorted(called) == [*range(300), *range(1000, 1300)])
"""
    ran = subprocess.run(
        [sys.executable, "-c", program, sim_server.base_url], capture_output=True, text=True, timeout=50
    )
    assert (ran.stdout, ran.stderr) == ("True True\n", "")


@pytest.mark.usefixtures("host")
def test_one_that_blocks_for_ever_does_not_hold_up_the_exit(sim_server: LocalServer) -> None:
    program = """
import sys, threading
from tinker_client import ServiceClient, types

client = ServiceClient(base_url=sys.argv[1], api_key="tml-tests").create_sampling_client(base_model="x")
blocked = threading.Event()
future = client.sample(types.ModelInput.from_ints([1]), 1, types.SamplingParams(max_tokens=4))
future.add_done_callback(lambda _: (blocked.set(), threading.Event().wait()))
future.result(30)
blocked.wait()
"""
    program = program.replace('"x"', '"tinker-sidecar/sim"')
    ran = subprocess.run(
        [sys.executable, "-c", program, sim_server.base_url], capture_output=True, text=True, timeout=50
    )
    assert (ran.returncode, ran.stderr) == (0, "")


HANDLERS: dict[str, Callable[[SamplingClient, list[threading.Thread]], object]] = {
    "shuts down": lambda client, workers: tinker_client.shutdown(),
    "samples": lambda client, workers: check(submit(client, 3)),
    "joins threads that wait": lambda client, workers: [worker.join(30) for worker in workers],
}


@pytest.mark.parametrize("handle", HANDLERS.values(), ids=HANDLERS)
def test_a_signal_handler_during_a_wait(
    client: SamplingClient,
    never_client: SamplingClient,
    handle: Callable[[SamplingClient, list[threading.Thread]], object],
) -> None:
    """It interrupts the thread that waits for results on behalf of everybody."""
    handled: list[bool] = []

    def wait() -> None:
        with suppress(tinker_client.TinkerError):  # Shut down.
            check(submit(client, 3))

    def interrupt(*_: object) -> None:
        workers = [threading.Thread(target=wait) for _ in range(3)]
        for worker in workers:
            worker.start()
        handle(client, workers)
        for worker in workers:
            worker.join(30)
        handled.append(not any(worker.is_alive() for worker in workers))

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        pending = never_client.sample(PROMPT, 1, PARAMS)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with suppress(TimeoutError, tinker_client.TinkerError):
            pending.result(3)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert handled == [True]
