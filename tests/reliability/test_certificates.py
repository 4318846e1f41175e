"""Images without certificates of authorities: plain http needs none, and https says what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

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


@pytest.mark.parametrize(
    "content", [b"", b"no certificate", b"\x30\x82\x01\x0a", b"-----BEGIN CERTIFICATE-----\nAAAA\n"]
)
def test_a_file_that_has_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    file = tmp_path / "authorities.pem"
    file.write_bytes(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with pytest.raises(
        APIConnectionError, match=r"SSL_CERT_FILE.*authorities\.pem', which has no certificate"
    ):
        ServiceClient(base_url="https://127.0.0.1:1", api_key="tml-tests")


def test_one_that_cannot_be_read_is_passed_over(
    tls_server: TlsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "authorities.pem"
    damaged = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    file.write_bytes(b"a note\n" + damaged + Path(tls_server.authority_file).read_bytes() + damaged)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    assert_samples(tls_server.base_url)


def test_those_of_a_file_and_of_a_folder_do(
    tls_server: TlsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "authorities"
    folder.mkdir()
    (folder / "ours.pem").write_bytes(Path(tls_server.authority_file).read_bytes())
    trustme.CA().cert_pem.write_to_path(tmp_path / "another.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "another.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    assert_samples(tls_server.base_url)


def test_a_folder_of_them(tls_server: TlsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "authorities"
    folder.mkdir()
    (folder / "notes.txt").write_text("not one")
    (folder / "5ed36f99.0").write_bytes(Path(tls_server.authority_file).read_bytes())
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    assert_samples(tls_server.base_url)
