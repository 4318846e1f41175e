"""A sweep of many samplers in a process that may have few descriptors: all is answered, without a stall."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.local_server.api import Api
from tests.reliability.programs import Launch, in_each_host
from tinker_client.local_server import start_local_server

SWEEP = """
import resource

resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
service_client = ServiceClient()
clients = [service_client.create_sampling_client(base_model="tinker-sidecar/sim") for _ in range(300)]
for _ in range(2):
    pending = [(number, ask(client, number)) for number in range(4) for client in clients]
    for number, future in pending:
        assert tokens(future) == expected_tokens([number], 1, 0, 4)
say("sampled")
"""


@in_each_host
@pytest.mark.parametrize("descriptors", [256, 1024])
def test_a_sweep(launch: Launch, sidecar: bool | str, descriptors: int) -> None:
    with closing(start_local_server("sim", "--latency", "0.05")) as server:
        program = launch(SWEEP.replace("DESCRIPTORS", str(descriptors)), sidecar=sidecar, server=server)
        program.expect("sampled")
        program.assert_ends_well()
        requests = Api(server.base_url).get("/local/requests").json["requests"]
    # Where nobody waits for its news, the server holds a poll for half a minute, and others wait behind it.
    assert [request for request in requests if request["answered"] - request["came"] > 20] == []
