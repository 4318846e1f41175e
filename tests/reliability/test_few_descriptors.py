"""A sweep of many samplers in a process that may have few descriptors: all is answered, without a stall."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.reliability.programs import Launch
from tinker_client.local_server import start_local_server

# The bound is many times what it takes. A request that is stuck behind a poll which nobody waits for
# would take half a minute.
SWEEP = """
import resource

resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
service_client = ServiceClient()
clients = [service_client.create_sampling_client(base_model="tinker-sidecar/sim") for _ in range(300)]
for _ in range(2):
    pending = [(number, ask(client, number)) for number in range(4) for client in clients]
    waited_since = time.monotonic()
    for number, future in pending:
        assert tokens(future) == expected_tokens([number], 1, 0, 4)
    assert time.monotonic() - waited_since < 25
say("sampled")
"""


@pytest.mark.parametrize("sidecar", [True, False], ids=["sidecar", "in_process"])
@pytest.mark.parametrize("descriptors", [256, 1024])
def test_a_sweep(launch: Launch, sidecar: bool, descriptors: int) -> None:
    with closing(start_local_server("sim", "--latency", "0.05")) as server:
        program = launch(SWEEP.replace("DESCRIPTORS", str(descriptors)), sidecar=sidecar, server=server)
        program.expect("sampled")
        program.assert_ends_well()
