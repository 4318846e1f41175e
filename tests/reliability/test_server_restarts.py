"""The server dies and comes back at the same address, having forgotten everything."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from tests.connection import PARAMS, assert_right, prompt
from tinker_client import NotFoundError, RetryConfig, ServiceClient
from tinker_client.local_server import LocalServer, start_local_server

RETRY = RetryConfig(retry_delay_base=0.01, retry_delay_max=0.1, progress_timeout=30)


@pytest.mark.usefixtures("host")
def test_the_client_says_which_session_it_forgot() -> None:
    """At once, for what was pending and for what comes next; a new service client works."""
    with ExitStack() as stack:
        server = start_local_server("sim", "--latency", "5")
        port = server.base_url.rsplit(":", 1)[1]
        service_client = stack.enter_context(ServiceClient(base_url=server.base_url, api_key="tml-tests"))
        client = service_client.create_sampling_client(base_model="tinker-sidecar/sim", retry_config=RETRY)
        futures = [client.sample(prompt(number), 2, PARAMS) for number in range(50)]
        time.sleep(0.5)  # Some have been taken, and none answered.
        server.close()
        second = start_local_server("sim", "--latency", "0.01", "--port", port)
        stack.callback(second.close)
        errors = [future.exception(30) for future in futures]
        errors.append(client.sample(prompt(1), 2, PARAMS).exception(30))

        assert {type(error) for error in errors} == {NotFoundError}
        assert all("session" in str(error) for error in errors), {str(error) for error in errors}
        assert_works(second)


def assert_works(server: LocalServer) -> None:
    with ServiceClient(base_url=server.base_url, api_key="tml-tests") as service_client:
        client = service_client.create_sampling_client(base_model="tinker-sidecar/sim")
        for number in range(20):
            assert_right(number, client.sample(prompt(number), 2, PARAMS))
