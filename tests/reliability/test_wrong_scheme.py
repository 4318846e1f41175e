"""An https:// address of a server that speaks no TLS: the error says so."""

from __future__ import annotations

import pytest

from tinker_client import APIConnectionError, ServiceClient
from tinker_client.local_server import LocalServer


@pytest.mark.usefixtures("host")
def test_the_error_names_the_mistake(sim_server: LocalServer) -> None:
    with pytest.raises(APIConnectionError, match="does the server speak TLS"):
        ServiceClient(base_url=sim_server.base_url.replace("http:", "https:"), api_key="tml-tests")
