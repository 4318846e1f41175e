"""Whoever gives up a request that waits for its turn, or has just had it, leaves its place to others."""

from __future__ import annotations

import asyncio
import os
from array import array
from collections.abc import Iterator
from contextlib import closing
from contextvars import copy_context

import pytest

from tests.engine.services import service
from tests.local_server.api import SIM
from tinker_client.local_server import start_local_server
from tinker_sidecar.engine.account import Accounts
from tinker_sidecar.engine.engine import Engine
from tinker_sidecar.engine.fair_queue import program
from tinker_sidecar.ipc.protocol import (
    Batch,
    Cancel,
    OpenSampler,
    OpenSession,
    PackedParams,
    PackedText,
    RequestSpec,
    Retry,
    Sample,
)

pytestmark = pytest.mark.anyio

TEXT = PackedText(memoryview(array("i", range(8)).tobytes()))
SPEC = RequestSpec(1, 0, [TEXT], 1, PackedParams(8, 3, None, 1.0, -1, 1.0))
MANY = 3000


class Client:
    """Of an engine in this process, with one sampler."""

    def __init__(self, base_url: str, most: int | None, accounts: Accounts | None = None) -> None:
        self.done: list[int] = []
        self.engine = Engine(self._take, os.getpid(), accounts=accounts)
        self._context = copy_context()
        retry = Retry(most, 60.0, 0.01, 0.05, 0.0, enable_retry_logic=True, enable_stuck_detection=True)
        self.engine.handle(OpenSession(1, 1, service(base_url), None))
        self.engine.handle(OpenSampler(2, 1, 1, None, 0, SIM, None, 0, False, 0, 0, retry))
        self.engine.handle(SPEC)

    def _take(self, batch: Batch) -> None:
        assert not batch.failed
        self.done += batch.done
        asyncio.get_running_loop().call_soon(self.engine.outbox.acknowledged, batch.number)

    def sample(self, *requests: int) -> None:
        for request in requests:
            self.engine.handle(Sample(request, 1, request, 1))

    def cancel(self, *requests: int) -> None:
        self.engine.handle(Cancel(list(requests)))

    async def have(self, *requests: int) -> None:
        async with asyncio.timeout(20):
            while not set(requests) <= set(self.done):  # noqa: ASYNC110  # The engine calls back.
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        await asyncio.create_task(self.engine.close(), context=self._context)

    @property
    def places(self) -> tuple[int, int]:
        """How many are taken, and how many wait for one."""
        [session] = self.engine._open_sessions()
        return session.dispatches.inside, session.dispatches.waiting


@pytest.fixture
def base_url() -> Iterator[str]:
    with closing(start_local_server("sim", "--latency", "0.02")) as server:
        yield server.base_url


@pytest.mark.parametrize("most", [None, 1])
async def test_in_the_moment_in_which_they_came(most: int | None, base_url: str) -> None:
    client = Client(base_url, most)
    client.sample(3)
    await client.have(3)
    for request in range(4, 4 + MANY):
        client.sample(request)
        client.cancel(request)
    client.sample(4 + MANY)
    await client.have(3, 4 + MANY)
    assert client.places == (0, 0)
    assert not client.engine.books.is_busy()
    await client.close()


@pytest.mark.parametrize("most", [None, 1])
async def test_while_they_wait(most: int | None, base_url: str) -> None:
    client = Client(base_url, most)
    first, last = 3, 4 + MANY
    client.sample(*range(first, last + 1))
    await client.have(first)
    client.cancel(*range(first + 1, last))
    await client.have(first, last)
    await asyncio.sleep(0.1)
    assert client.places == (0, 0)
    assert not client.engine.books.is_busy()
    await client.close()


async def test_before_the_sampler_is_open(base_url: str) -> None:
    client = Client(base_url, 1)
    client.sample(*range(3, 100))
    client.cancel(*range(3, 99))
    await client.have(99)
    assert client.done == [99]
    assert client.places == (0, 0)
    await client.close()


@pytest.mark.parametrize("most", [None, 1])
async def test_others_do_not_go_first_for_them(most: int | None, base_url: str) -> None:
    """Another program has much to do: what is given up takes none of our turns."""
    accounts = Accounts()
    neighbour = copy_context().run(_as_program, 1, base_url, None, accounts)
    client = copy_context().run(_as_program, 2, base_url, most, accounts)
    for each in (neighbour, client):
        each.sample(3)
        await each.have(3)
    neighbour.sample(*range(4, 4 + MANY))
    client.sample(*range(4, 4 + MANY))
    await asyncio.sleep(0)
    client.cancel(*range(4, 3 + MANY))
    await client.have(3 + MANY)
    assert len(neighbour.done) < MANY / 2
    for each in (neighbour, client):
        await each.close()


def _as_program(number: int, base_url: str, most: int | None, accounts: Accounts) -> Client:
    program.set(number)
    return Client(base_url, most, accounts)


async def test_the_engine_in_the_moment_in_which_they_begin(base_url: str) -> None:
    """None of its requests keeps a place of what it may share with others."""
    client = Client(base_url, None)
    client.sample(3)
    await client.have(3)
    [session] = client.engine._open_sessions()
    client.sample(*range(4, 100))
    assert session.dispatches.inside > 0
    await client.close()
    assert (session.dispatches.inside, session.dispatches.waiting) == (0, 0)
