"""Awaiting in the event loops and scopes that people use: asyncio, uvloop, anyio, trio, nest_asyncio."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import subprocess
import sys
import weakref
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio
import uvloop

import tinker_client
from tinker_client import SamplingClient, ServiceClient, types
from tinker_client.local_server import LocalServer, start_local_server
from tinker_sidecar.local_server.engines.sim import expected_tokens

PROMPT = types.ModelInput.from_ints([1, 2, 3])
PARAMS = types.SamplingParams(max_tokens=4, seed=0)
TOKENS = expected_tokens([1, 2, 3], 0, 0, 4)

BACKENDS = ["asyncio", "trio"]


async def sample(client: SamplingClient) -> list[int]:
    return (await client.sample_async(PROMPT, 1, PARAMS)).sequences[0].tokens


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scope", [anyio.move_on_after, anyio.fail_after], ids=["move_on", "fail"])
def test_anyio_scopes_end_quietly(
    never_client: SamplingClient, backend: str, scope: Callable[[float], AbstractContextManager[Any]]
) -> None:
    """Or, `fail_after`, with the error that is its own; the request is cancelled."""

    async def main() -> list[bool]:
        future = never_client.sample(PROMPT, 1, PARAMS)
        try:
            with scope(0.1):
                await future
        except TimeoutError:
            return [scope is anyio.fail_after, future.cancelled()]
        return [scope is anyio.move_on_after, future.cancelled()]

    assert anyio.run(main, backend=backend) == [True, True]


@pytest.mark.parametrize("backend", BACKENDS)
def test_nested_scopes(never_client: SamplingClient, backend: str) -> None:
    """The one that is over ends, the one around it goes on."""

    async def main() -> list[bool]:
        with anyio.move_on_after(30) as outer:
            with anyio.move_on_after(0.1) as inner:
                await never_client.sample_async(PROMPT, 1, PARAMS)
            await anyio.lowlevel.checkpoint()
        return [inner.cancelled_caught, outer.cancelled_caught]

    assert anyio.run(main, backend=backend) == [True, False]


@pytest.mark.parametrize("backend", BACKENDS)
def test_task_groups(client: SamplingClient, never_client: SamplingClient, backend: str) -> None:
    """One task's error ends the others, and is what is raised."""
    results: list[list[int]] = []

    async def collect() -> None:
        results.append(await sample(client))

    async def give_up() -> None:
        await anyio.wait_all_tasks_blocked()
        raise ZeroDivisionError

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(collect)
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(never_client.sample_async, PROMPT, 1, PARAMS)
            group.start_soon(give_up)

    with pytest.raises(ExceptionGroup) as raised:
        anyio.run(main, backend=backend)
    assert [type(error) for error in raised.value.exceptions] == [ZeroDivisionError]
    assert results == [TOKENS] * 10


def test_asyncio_timeouts_and_groups(never_client: SamplingClient) -> None:
    async def ask() -> None:
        await never_client.sample_async(PROMPT, 1, PARAMS)

    async def together() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(ask())
            group.create_task(asyncio.wait_for(ask(), 0.05))

    async def main() -> list[bool]:
        ended = []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await ask()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ask(), 0.05)
        task = asyncio.create_task(ask())
        await asyncio.sleep(0)
        task.cancel("a word on why")
        with pytest.raises(asyncio.CancelledError, match="a word on why"):
            await task
        ended.append(task.cancelled())
        with pytest.raises(ExceptionGroup):
            await together()
        return ended

    assert asyncio.run(main()) == [True]


# trio


def test_all_of_it_under_trio(host: str, sim_server: LocalServer) -> None:
    async def main() -> list[object]:
        with ServiceClient(base_url=sim_server.base_url, api_key="tml-tests") as service_client:
            client = await service_client.create_sampling_client_async(base_model="tinker-sidecar/sim")
            capabilities = await service_client.get_server_capabilities_async()
            await client.compute_logprobs_async(PROMPT)
            return [
                await sample(client),
                client.sample(PROMPT, 1, PARAMS).result(30).sequences[0].tokens,
                (await client.sample(PROMPT, 1, PARAMS).result_async(30)).sequences[0].tokens,
                await client.get_base_model_async(),
                len(capabilities.supported_models) > 0,
            ]

    assert trio.run(main) == [TOKENS, TOKENS, TOKENS, "tinker-sidecar/sim", True]


def test_with_a_trio_older_than_0_23(
    host: str, sim_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be imported by others, such as httpcore, and has no `in_trio_task`."""
    monkeypatch.delattr(trio.lowlevel, "in_trio_task")
    test_all_of_it_under_trio(host, sim_server)
    with ServiceClient(base_url=sim_server.base_url, api_key="tml-tests") as service_client:
        client = service_client.create_sampling_client(base_model="tinker-sidecar/sim")
        assert client.sample(PROMPT, 1, PARAMS).result(30).sequences[0].tokens == TOKENS


def test_while_another_thread_imports_trio(
    host: str, sim_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trio", ModuleType("trio"))
    with ServiceClient(base_url=sim_server.base_url, api_key="tml-tests") as service_client:
        client = service_client.create_sampling_client(base_model="tinker-sidecar/sim")
        assert client.sample(PROMPT, 1, PARAMS).result(30).sequences[0].tokens == TOKENS


def test_giving_up_under_trio(never_client: SamplingClient) -> None:
    async def main() -> bool:
        future = never_client.sample(PROMPT, 1, PARAMS)
        with pytest.raises(TimeoutError, match=r"within 0.05 s.*unanswered"):
            await future.result_async(0.05)
        return future.cancelled()

    assert trio.run(main)


# A loop that is entered again from within, as in notebooks.

NEST_ASYNCIO = "nest_asyncio" if sys.version_info < (3, 14) else "nest_asyncio2"
"""nest_asyncio has no keeper any more, and under Python 3.14 no task knows that it runs; a fork of it has."""

REENTRY = """
import asyncio, sys
import NEST_ASYNCIO
from tinker_client import ServiceClient, types

NEST_ASYNCIO.apply()
params = types.SamplingParams(max_tokens=4)

async def main():
    service_client = ServiceClient(base_url=sys.argv[1], api_key="tml-tests")
    client = await service_client.create_sampling_client_async(base_model="tinker-sidecar/sim")
    await client.sample_async(types.ModelInput.from_ints([1]), 1, params)
    loop = asyncio.get_running_loop()

    async def grade(number):
        await client.sample_async(types.ModelInput.from_ints([number]), 1, params)
        if number == 1:
            loop.run_until_complete(asyncio.gather(*tasks[1:]))  # A reward that needs the whole group.
        return number

    tasks = [asyncio.create_task(grade(number)) for number in range(1, 9)]
    print(sorted(await asyncio.gather(*tasks)))
    again = client.sample(types.ModelInput.from_ints([9]), 1, params)
    print(len(loop.run_until_complete(again.coroutine()).sequences))

asyncio.run(main())
""".replace("NEST_ASYNCIO", NEST_ASYNCIO)


def test_a_task_that_re_enters_the_loop(host: str, sim_server: LocalServer) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", REENTRY, sim_server.base_url],
        capture_output=True,
        text=True,
        timeout=40,
    )
    assert (ran.stdout, ran.stderr) == ("[1, 2, 3, 4, 5, 6, 7, 8]\n1\n", "")


# Contexts


class Marker:
    """Something that a context holds."""


def test_no_context_of_a_caller_is_kept(host: str, sim_server: LocalServer) -> None:
    """Not by the engine's loop, nor by the user's, though they run and read for everybody."""
    variable: contextvars.ContextVar[Marker] = contextvars.ContextVar("variable")

    async def mark(client: SamplingClient) -> weakref.ref[Marker]:
        marker = Marker()
        variable.set(marker)
        await sample(client)
        return weakref.ref(marker)

    async def main() -> bool:
        service_client = ServiceClient(base_url=sim_server.base_url, api_key="tml-tests")
        client = await service_client.create_sampling_client_async(base_model="tinker-sidecar/sim")
        marker = await asyncio.create_task(mark(client))
        await sample(client)
        gc.collect()
        return marker() is None

    assert asyncio.run(main())


def test_another_librarys_reader_stays(sim_server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of a descriptor of ours is another's as soon as it is closed."""
    monkeypatch.setenv("TINKER_SUBPROCESS_SAMPLING", "1")

    async def main() -> bool:
        service_client = ServiceClient(base_url=sim_server.base_url, api_key="tml-tests")
        client = await service_client.create_sampling_client_async(base_model="tinker-sidecar/sim")
        await sample(client)
        await sample(client)
        loop = asyncio.get_running_loop()
        tinker_client.shutdown()
        pipes = [os.pipe() for _ in range(40)]
        heard = [asyncio.Event() for _ in pipes]
        try:
            for (reading, writing), event in zip(pipes, heard, strict=True):
                loop.add_reader(reading, event.set)
                os.write(writing, b".")
            await asyncio.wait_for(asyncio.gather(*(event.wait() for event in heard)), 20)
        finally:
            for reading, writing in pipes:
                loop.remove_reader(reading)
                os.close(reading)
                os.close(writing)
        return True

    assert asyncio.run(main())
    assert uvloop.run(main())


# Starting


@pytest.fixture
def slow_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sidecars take a while to start."""
    (tmp_path / "zmq").mkdir()
    code = "import sys, time; time.sleep(2); sys.path.remove({!r}); del sys.modules['zmq']; import zmq"
    (tmp_path / "zmq" / "__init__.py").write_text(code.format(str(tmp_path)))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TINKER_SUBPROCESS_SAMPLING", "1")


async def ticks_during(work: Awaitable[Any]) -> int:
    """How often other tasks get their turn meanwhile."""
    task = asyncio.ensure_future(work)
    ticks = 0
    while not task.done():
        await asyncio.sleep(0.01)
        ticks += 1
    await task
    return ticks


@pytest.mark.usefixtures("slow_interpreter")
def test_no_loop_is_held_up_by_a_start(sim_server: LocalServer) -> None:
    async def use() -> None:
        service_client = ServiceClient(base_url=sim_server.base_url, api_key="tml-tests")
        client = service_client.create_sampling_client(base_model="tinker-sidecar/sim")
        assert await sample(client) == TOKENS

    async def main() -> int:
        return await ticks_during(use())

    assert asyncio.run(main()) > 50


def test_no_loop_is_held_up_by_a_replacement(
    sim_server: LocalServer, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINKER_SUBPROCESS_SAMPLING", "1")

    async def main() -> int:
        service_client = ServiceClient(base_url=sim_server.base_url, api_key="tml-tests")
        client = await service_client.create_sampling_client_async(base_model="tinker-sidecar/sim")
        await sample(client)
        request.getfixturevalue("slow_interpreter")
        pid = tinker_client.connection.backends.get_backend(sidecar=True).pid
        assert pid is not None
        os.kill(pid, 9)

        async def use() -> None:
            for _ in range(3):
                assert await sample(client) == TOKENS

        return await ticks_during(use())

    assert asyncio.run(main()) > 50


@pytest.mark.usefixtures("host")
def test_a_start_that_fails_is_told_to_who_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sim_server: LocalServer
) -> None:
    monkeypatch.setenv("TINKER_SUBPROCESS_SAMPLING", "1")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    async def main() -> None:
        service_client = ServiceClient(base_url=sim_server.base_url, api_key="tml-tests")
        client = service_client.create_sampling_client(base_model="tinker-sidecar/sim")
        with pytest.raises(tinker_client.SidecarStartupError, match="/nowhere/python"):
            await client.sample_async(PROMPT, 1, PARAMS)
        with pytest.raises(tinker_client.SidecarStartupError, match="/nowhere/python"):
            await client

    asyncio.run(main())


# Time-outs


def test_a_time_out_of_a_month(client: SamplingClient) -> None:
    """As `concurrent.futures` takes it, and a good deal longer."""
    for timeout in (30 * 24 * 3600.0, 9e9):
        assert client.result(timeout) is client
        assert client.sample(PROMPT, 1, PARAMS).result(timeout).sequences[0].tokens == TOKENS
        assert client.sample(PROMPT, 1, PARAMS).exception(timeout) is None

    async def main() -> list[int]:
        return (await client.sample(PROMPT, 1, PARAMS).result_async(30 * 24 * 3600)).sequences[0].tokens

    assert asyncio.run(main()) == TOKENS


def test_a_time_out_says_what_took_too_long(never_client: SamplingClient) -> None:
    future = never_client.sample(PROMPT, 1, PARAMS)
    expected = (
        r"no outcome within 0.1 s: the request to .*:sample:0 was submitted 0\.\d s ago and is unanswered"
    )
    with pytest.raises(TimeoutError, match=expected):
        future.result(0.1)
    with pytest.raises(TimeoutError, match="unanswered"):
        future.exception(0)


def test_a_client_that_takes_too_long(host: str) -> None:
    async def main(server: LocalServer) -> None:
        service_client = ServiceClient(base_url=server.base_url, api_key="tml-tests")
        client = service_client.create_sampling_client(base_model="tinker-sidecar/sim")
        with pytest.raises(TimeoutError, match=r"not confirmed tinker-sidecar/sim within 0.1 s"):
            client.result(0.1)
        with pytest.raises(TimeoutError, match=r"not confirmed tinker-sidecar/sim within 0.1 s"):
            await client.result_async(0.1)

    with closing(start_local_server("sim", "--fault", "create_session:delay,seconds=30")) as server:
        asyncio.run(main(server))
