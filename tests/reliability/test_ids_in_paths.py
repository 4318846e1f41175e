"""An id from a server, or from a handle that somebody made, stays one part of a path."""

from __future__ import annotations

import base64
import json
from contextlib import closing

import pytest

from tests.client.recorder import recording
from tinker_client import SamplingClient, ServiceClient, TinkerError
from tinker_client.local_server import start_local_server


@pytest.mark.usefixtures("host")
def test_the_id_of_a_sampler() -> None:
    options = ("--client-config", "sample_join_sampling_session=false")
    with closing(start_local_server("sim", *options)) as server, recording(server.base_url) as recorder:
        service_client = ServiceClient(base_url=recorder.base_url, api_key="tml-tests")
        client = service_client.create_sampling_client(base_model="tinker-sidecar/sim")
        fields = json.loads(base64.urlsafe_b64decode(client.get_sampler_handle()))
        fields |= {"sampling_session_id": "../telemetry?x=1#y z/é", "base_model": None}
        handle = base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()
        with pytest.raises(TinkerError, match="base model"):
            SamplingClient.from_sampler_handle(handle, api_key="tml-tests").get_base_model()
        routes = {call.route for call in recorder.calls}
        service_client.close()
    assert "samplers/..%2Ftelemetry%3Fx%3D1%23y%20z%2F%C3%A9" in routes
    assert not any(route.startswith("telemetry") for route in routes)
