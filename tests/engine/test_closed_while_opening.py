"""A sampler that is closed before it is open: whoever waits for it is told."""

from __future__ import annotations

import asyncio
import os
from contextlib import closing

import pytest

from tests.engine.services import service
from tests.local_server.api import SIM
from tinker_client.local_server import start_local_server
from tinker_sidecar.engine.engine import Engine
from tinker_sidecar.ipc.protocol import (
    Batch,
    CloseSampler,
    OpenSampler,
    OpenSession,
    PackedParams,
    RequestSpec,
    Retry,
    Sample,
)

pytestmark = pytest.mark.anyio

RETRY = Retry(None, 60.0, 0.01, 0.05, 0.0, enable_retry_logic=True, enable_stuck_detection=True)
SPEC = RequestSpec(1, 0, [], 1, PackedParams(8, 3, None, 1.0, -1, 1.0))


async def test_what_waits_for_it_fails() -> None:
    batches: list[Batch] = []
    with closing(start_local_server("sim", "--fault", "create_sampling_session:hang")) as server:
        engine = Engine(batches.append, os.getpid())
        engine.handle(OpenSession(1, 1, service(server.base_url), None))
        engine.handle(OpenSampler(2, 1, 1, None, 0, SIM, None, 0, False, 0, 0, RETRY))
        engine.handle(SPEC)
        engine.handle(Sample(3, 1, 0, 1))
        await asyncio.sleep(1)  # By then the sampler is being opened.
        engine.handle(CloseSampler(1))
        await asyncio.sleep(0.1)
        engine.outbox.acknowledged(1)
        await asyncio.sleep(0.1)
        failed = [failed for batch in batches for failed in batch.failed]
        assert [(request, failure.message) for request, failure in failed] == [
            (3, "the client or its service client has been closed")
        ]
        assert not engine.books.is_busy()
        await engine.close()
