"""Over TLS the engine speaks HTTP/2, to servers whose certificate it can verify and to no other."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tinker_client import APIConnectionError, ServiceClient, types
from tinker_sidecar.local_server.engines.sim import expected_tokens

# The local server's application behind a server that has HTTP/2; it says which versions it was spoken to.
SERVER = """
import asyncio, sys
from hypercorn.asyncio import serve
from hypercorn.config import Config
from tinker_sidecar.local_server.engines.sim import SimEngine
from tinker_sidecar.local_server.model import ServedModel
from tinker_sidecar.local_server.options import ServerOptions
from tinker_sidecar.local_server.server import LocalApi

api = LocalApi(ServedModel(SimEngine(0.01), "sim", "a simulation", 0), ServerOptions())

async def app(scope, receive, send):
    if scope["type"] == "http":
        print(scope["http_version"], flush=True)
        await api.app(scope, receive, send)

config = Config()
config.bind, config.certfile, config.keyfile = [f"127.0.0.1:{sys.argv[1]}"], sys.argv[2], sys.argv[2]
config.accesslog = config.errorlog = None
asyncio.run(serve(app, config))
"""


class TlsServer:
    def __init__(self, folder: Path, port: int) -> None:
        authority = trustme.CA()
        self.authority_file = folder / "authority.pem"
        authority.cert_pem.write_to_path(self.authority_file)
        certificate = folder / "server.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
        self.base_url = f"https://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(port), certificate], stdout=subprocess.PIPE, text=True
        )

    def versions(self) -> set[str]:
        """The versions of HTTP that it was spoken to; ends it."""
        self.process.kill()
        assert self.process.stdout is not None
        return set(self.process.stdout.read().split())


@pytest.fixture
def tls_server(tmp_path: Path, unused_port: int) -> Iterator[TlsServer]:
    server = TlsServer(tmp_path, unused_port)
    with server.process:
        yield server
        server.process.kill()


@pytest.mark.usefixtures("host")
def test_http2_with_a_verified_server(tls_server: TlsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls_server.authority_file))
    with ServiceClient(base_url=tls_server.base_url, api_key="tml-tests") as service_client:
        client = service_client.create_sampling_client(base_model="tinker-sidecar/sim")
        params = types.SamplingParams(max_tokens=4, seed=1)
        futures = [client.sample(types.ModelInput.from_ints([n]), 1, params) for n in range(1, 101)]
        tokens = [future.result(30).sequences[0].tokens for future in futures]

    assert tokens == [expected_tokens([n], 1, 0, 4) for n in range(1, 101)]
    assert tls_server.versions() == {"2"}


@pytest.mark.usefixtures("host", "tls_server")
def test_an_unknown_authority_is_refused(tls_server: TlsServer) -> None:
    with pytest.raises(APIConnectionError, match="certificate"):
        ServiceClient(base_url=tls_server.base_url, api_key="tml-tests")


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
