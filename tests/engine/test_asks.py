"""A request says what it asks for by number: the engine takes it for no other."""

from __future__ import annotations

import asyncio
import os

import msgspec
import pytest

from tests.engine.answers import ask
from tinker_sidecar.engine.engine import Engine
from tinker_sidecar.ipc.protocol import Batch, Message, RequestSpec, Sample


@pytest.mark.parametrize("asks", [[], [2], [1, 2]], ids=["none", "another", "no longer the last"])
def test_a_request_without_its_ask_fails(asks: list[int]) -> None:
    async def main() -> Batch:
        batch: asyncio.Future[Batch] = asyncio.get_running_loop().create_future()
        engine = Engine(batch.set_result, os.getpid())
        for message in (*map(_numbered, asks), Sample(5, 1, 0, 1)):
            engine.handle(message)
        return await asyncio.wait_for(batch, 10)

    [(request, failure)] = asyncio.run(main()).failed
    assert (request, failure.kind) == (5, "SidecarIPCError")


def _numbered(number: int) -> Message:
    numbered: RequestSpec = msgspec.structs.replace(ask(), id=number)
    return numbered
