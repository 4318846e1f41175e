"""Servers other than the hosted service: keys and paths of their own form are for them to judge."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.client.recorder import recording
from tinker_client import BadRequestError, ServiceClient, TinkerError, types
from tinker_client.config import DEFAULT_BASE_URL
from tinker_client.local_server import LocalServer, start_local_server

pytestmark = pytest.mark.usefixtures("host")

MODEL = "tinker-sidecar/sim"


@pytest.mark.parametrize("key", ["sk-of-our-cluster", "team blue"])
def test_a_key_of_another_form_is_sent(key: str) -> None:
    with (
        closing(start_local_server("sim", "--api-key", key)) as server,
        ServiceClient(base_url=server.base_url, api_key=key) as service_client,
    ):
        client = service_client.create_sampling_client(base_model=MODEL)
        prompt, params = types.ModelInput.from_ints([1]), types.SamplingParams(max_tokens=2)
        assert client.sample(prompt, 1, params).result(30).sequences


@pytest.mark.parametrize("key", ["sk-of-another-service", "tml-with a space"])
def test_the_hosted_service_is_not_asked_about_a_key_that_cannot_be_its_own(key: str) -> None:
    with pytest.raises(TinkerError, match=r"starts with 'tml-'.* the api_key argument") as caught:
        ServiceClient(base_url=DEFAULT_BASE_URL, api_key=key)
    assert key not in str(caught.value)


@pytest.mark.parametrize("key", ["schlüssel", "two\nlines"])
def test_a_key_that_cannot_be_sent(sim_server: LocalServer, key: str) -> None:
    with pytest.raises(TinkerError, match="a line of printable ASCII") as caught:
        ServiceClient(base_url=sim_server.base_url, api_key=key)
    assert key not in str(caught.value)


def test_a_path_of_another_form_is_sent(sim_server: LocalServer) -> None:
    """This server takes none, and says so itself."""
    with (
        recording(sim_server.base_url) as recorder,
        ServiceClient(base_url=recorder.base_url, api_key="tml-tests") as service_client,
    ):
        with pytest.raises(BadRequestError, match="'/checkpoints/7'; it must start with 'tinker://'"):
            service_client.create_sampling_client("/checkpoints/7")
        [created] = recorder.to("create_sampling_session")
    assert created.body["model_path"] == "/checkpoints/7"
