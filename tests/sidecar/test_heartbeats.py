"""Heartbeats keep time and requests go on while the caller's process holds its GIL."""

from __future__ import annotations

import ctypes
import json
import urllib.request
from typing import Any

import pytest

from tinker_client import ServiceClient, types
from tinker_client.local_server import LocalServer

HOLD = 24
REQUESTS = 64


@pytest.mark.slow
@pytest.mark.timeout(90)
def test_while_the_gil_is_held(sim_server: LocalServer) -> None:
    with ServiceClient(base_url=sim_server.base_url, api_key="tml-tests") as service_client:
        sampling_client = service_client.create_sampling_client(base_model="tinker-sidecar/sim")
        prompt, params = types.ModelInput.from_ints([1, 2, 3]), types.SamplingParams(max_tokens=4)
        futures = [sampling_client.sample(prompt, 1, params) for _ in range(REQUESTS)]
        ctypes.PyDLL(None).sleep(HOLD)  # A C call that does not give up the GIL.
        seen = journal(sim_server)
        assert all(future.result(30).sequences[0].tokens for future in futures)

    session = max(seen["sessions"].values(), key=lambda session: session["created"])
    # One is due every 10 s. Had the first waited for the GIL, there would have been no time for a second.
    assert len(session["heartbeats"]) >= 2
    assert len(session["completed"]) == REQUESTS
    assert session["completed"][-1] < session["heartbeats"][0]


def journal(server: LocalServer) -> dict[str, Any]:
    with urllib.request.urlopen(server.base_url + "/local/journal") as answer:
        return json.load(answer)  # type: ignore[no-any-return]  # JSON
