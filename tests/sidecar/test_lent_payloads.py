"""A large result for which there is no memory fails, alone: what came with it is delivered."""

from __future__ import annotations

import os

import pytest

from tinker_client.connection.lent_payloads import LentPayloads
from tinker_sidecar.ipc.protocol import Batch
from tinker_sidecar.system import can_borrow, lend

pytestmark = pytest.mark.skipif(not can_borrow(), reason="no memory is lent here")

NO_MACHINE_HAS = 1 << 46


def test_no_memory_for_one_of_them() -> None:
    fd = lend(b"a payload")
    batch = Batch(
        1, [7, 8], [b"", b"small"], [], [], [], lent=[(0, fd, NO_MACHINE_HAS)], request_ids=["seven", "eight"]
    )
    taken = LentPayloads(os.getpid()).put_in(batch)
    os.close(fd)
    assert taken is not None
    assert (taken.done, taken.payloads, taken.request_ids) == ([8], [b"small"], ["eight"])
    [(request, failure)] = taken.failed
    assert request == 7
    assert "cannot map a large result" in failure.message
