"""Images without certificates of authorities: plain http needs none, and https says what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_tls import TlsServer, tls_server, unused_port
from tinker_client import APIConnectionError, ServiceClient, types
from tinker_client.local_server import LocalServer
from tinker_sidecar.local_server.engines.sim import expected_tokens

__all__ = ["tls_server", "unused_port"]

pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture
def _no_certificates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a bare Debian image."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))


def assert_samples(base_url: str) -> None:
    with ServiceClient(base_url=base_url, api_key="tml-tests") as service_client:
        client = service_client.create_sampling_client(base_model="tinker-sidecar/sim")
        params = types.SamplingParams(max_tokens=4, seed=1)
        [sequence] = client.sample(types.ModelInput.from_ints([1]), 1, params).result(30).sequences
    assert sequence.tokens == expected_tokens([1], 1, 0, 4)


@pytest.mark.usefixtures("_no_certificates")
def test_plain_http_needs_none(sim_server: LocalServer) -> None:
    assert_samples(sim_server.base_url)


@pytest.mark.usefixtures("_no_certificates")
def test_https_says_what_to_do() -> None:
    with pytest.raises(APIConnectionError, match=r"no certificates of authorities.*SSL_CERT_FILE") as caught:
        ServiceClient(base_url="https://127.0.0.1:1", api_key="tml-tests")
    assert "\n" not in str(caught.value)
    assert "base_url" not in str(caught.value)


@pytest.mark.usefixtures("_no_certificates")
def test_those_of_certifi_do(tls_server: TlsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = f"def where():\n    return {str(tls_server.authority_file)!r}\n"
    (tmp_path / "certifi.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    assert_samples(tls_server.base_url)


def test_a_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/authorities.pem")
    with pytest.raises(APIConnectionError, match=r"SSL_CERT_FILE.*/nowhere/authorities\.pem"):
        ServiceClient(base_url="https://127.0.0.1:1", api_key="tml-tests")


def test_an_authority_nobody_knows(tls_server: TlsServer) -> None:
    with pytest.raises(APIConnectionError, match="SSL_CERT_FILE"):
        ServiceClient(base_url=tls_server.base_url, api_key="tml-tests")
