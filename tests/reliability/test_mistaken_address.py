"""An address with a mistake, or with a word in it that errors have: the error says what is wrong."""

from __future__ import annotations

import pytest

from tinker_client import APIConnectionError, ServiceClient
from tinker_client.local_server import LocalServer


@pytest.mark.usefixtures("host")
def test_the_error_names_the_mistake(sim_server: LocalServer) -> None:
    with pytest.raises(APIConnectionError, match="does the server speak TLS"):
        ServiceClient(base_url=sim_server.base_url.replace("http:", "https:"), api_key="tml-tests")


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("word", ["Parse", "TimedOut", "CERTIFICATE_VERIFY_FAILED"])
def test_words_of_the_address_are_no_reason(word: str) -> None:
    with pytest.raises(APIConnectionError, match="Connection refused"):
        ServiceClient(base_url=f"http://127.0.0.1:1/{word}", api_key="tml-tests")


@pytest.mark.usefixtures("host")
def test_a_host_with_a_final_dot_is_the_same_host(sim_server: LocalServer) -> None:
    base_url = sim_server.base_url.replace("127.0.0.1", "localhost.")
    with ServiceClient(base_url=base_url, api_key="tml-tests") as service_client:
        assert service_client.get_server_capabilities().supported_models
