"""Arguments of `ServiceClient` that public code passes to the official one."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from tests.client.recorder import recording
from tinker_client import RetryConfig, ServiceClient
from tinker_client.local_server import LocalServer

MODEL = "tinker-sidecar/sim"

pytestmark = pytest.mark.usefixtures("host")


def connect(server: LocalServer, **arguments: Any) -> ServiceClient:
    return ServiceClient(base_url=server.base_url, api_key="tml-tests", **arguments)


def test_default_headers_are_sent_and_the_overrides_over_them(sim_server: LocalServer) -> None:
    with recording(sim_server.base_url) as recorder:
        with ServiceClient(
            base_url=recorder.base_url,
            api_key="tml-tests",
            default_headers={"X-Team": "blue", "X-Run": "7"},
            default_headers_overrides={"X-Run": "8"},
        ):
            pass
        [created] = recorder.to("create_session")
    assert (created.headers["x-team"], created.headers["x-run"]) == ("blue", "8")


@pytest.mark.parametrize(("max_retries", "retries"), [(0, False), (3, True), (float("inf"), True)])
def test_max_retries_of_zero_is_for_all_its_clients(
    sim_server: LocalServer, max_retries: float, retries: bool
) -> None:
    with connect(sim_server, max_retries=max_retries) as service_client:
        client = service_client.create_sampling_client(base_model=MODEL)
        assert client.retry_config == RetryConfig(enable_retry_logic=retries)
        assert pickle.loads(pickle.dumps(client)).retry_config == client.retry_config
        own = service_client.create_sampling_client(base_model=MODEL, retry_config=RetryConfig())
        assert own.retry_config == RetryConfig()


@pytest.mark.parametrize("max_retries", [-1, "3"])
def test_max_retries_of_another_kind(sim_server: LocalServer, max_retries: Any) -> None:
    with pytest.raises(
        (TypeError, ValueError), match=r"max_retries must be .*RetryConfig\(progress_timeout=\.\.\.\)"
    ):
        connect(sim_server, max_retries=max_retries)


@pytest.mark.parametrize("timeout", [600, 1.5, None, object()])
def test_a_timeout_is_taken(sim_server: LocalServer, timeout: Any) -> None:
    """The official client hands it to its HTTP library, as a number or as an object of that."""
    with connect(sim_server, timeout=timeout) as service_client:
        assert service_client.get_server_capabilities().supported_models


@pytest.mark.parametrize(
    ("headers", "complaint"),
    [
        ({"X-Secret": 5}, "headers must have strings for names and values"),
        ({5: "hunter2"}, "headers must have strings for names and values"),
        ({"X-Secret": "hunter2\r\nX-Other: a"}, r"headers\['X-Secret'\] has a line break"),
        ({"X Secret": "hunter2"}, "a name that is not one of an HTTP header"),
        ({"": "hunter2"}, "a name that is not one of an HTTP header"),
    ],
)
@pytest.mark.parametrize("argument", ["default_headers", "default_headers_overrides"])
def test_headers_that_cannot_be_sent(
    sim_server: LocalServer, argument: str, headers: Any, complaint: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=complaint) as caught:
        connect(sim_server, **{argument: headers})
    assert "hunter2" not in str(caught.value)
