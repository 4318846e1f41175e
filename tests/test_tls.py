"""Over TLS the engine speaks HTTP/2, to servers whose certificate it can verify and to no other."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme

from tinker_client import APIConnectionError, ServiceClient, types
from tinker_sidecar.local_server.engines.sim import expected_tokens

# The local server's application behind a server that has HTTP/2; it says which versions it was spoken to.
SERVER = """
import asyncio, json, sys
from hypercorn.asyncio import serve
from hypercorn.config import Config
from tinker_sidecar.local_server.engines.sim import SimEngine
from tinker_sidecar.local_server.model import ServedModel
from tinker_sidecar.local_server.options import ServerOptions
from tinker_sidecar.local_server.server import LocalApi

port, certificate, latency, streams, flags = json.loads(sys.argv[1])
engine = SimEngine(latency)
api = LocalApi(ServedModel(engine, "sim", "a simulation", 0), ServerOptions(client_config=flags))

async def app(scope, receive, send):
    if scope["type"] == "http":
        print(scope["http_version"], flush=True)
        await api.app(scope, receive, send)

config = Config()
config.bind, config.certfile, config.keyfile = [f"127.0.0.1:{port}"], certificate, certificate
config.h2_max_concurrent_streams = streams
config.accesslog = config.errorlog = None
asyncio.run(serve(app, config))
"""


class TlsServer:
    def __init__(
        self, folder: Path, port: int, *, latency: float = 0.01, streams: int = 100, **flags: object
    ) -> None:
        authority = trustme.CA()
        self.authority_file = folder / "authority.pem"
        authority.cert_pem.write_to_path(self.authority_file)
        certificate = folder / "server.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
        self.base_url = f"https://127.0.0.1:{port}"
        options = json.dumps([port, str(certificate), latency, streams, flags])
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, options], stdout=subprocess.PIPE, text=True
        )

    def log(self) -> dict[str, Any]:
        """Its requests, as the local server tells of them."""
        trust = ssl.create_default_context(cafile=self.authority_file)
        with urllib.request.urlopen(f"{self.base_url}/local/requests", context=trust) as answer:
            log: dict[str, Any] = json.load(answer)
        return log

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
        sample(service_client, 100)
    assert tls_server.versions() == {"2"}


@pytest.fixture
def log_of(
    tmp_path: Path, unused_port: int, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """What a server with these options tells of so many requests, all asked for at once."""

    def log_of(requests: int, **options: Any) -> dict[str, Any]:
        server = TlsServer(tmp_path, unused_port, **options)
        monkeypatch.setenv("SSL_CERT_FILE", str(server.authority_file))
        with ExitStack() as stack:
            stack.enter_context(server.process)
            stack.callback(server.process.kill)
            client = stack.enter_context(ServiceClient(base_url=server.base_url, api_key="tml-tests"))
            sample(client, requests)
            return server.log()

    return log_of


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("common_poll", [True, False])
def test_no_request_waits_behind_a_poll(log_of: Callable[..., dict[str, Any]], *, common_poll: bool) -> None:
    """Not even if there are more than a connection takes: all have come before the first result is there."""
    log = log_of(250, latency=8.0, streams=100, sample_use_retrieve_futures=common_poll)
    polls = log["most_at_once"]["retrieve_futures" if common_poll else "retrieve_future"]
    assert polls == (1 if common_poll else 250)
    submissions = [request for request in log["requests"] if request["route"] == "asample"]
    fetched = [request for request in log["requests"] if request["route"] == "retrieve_future"]
    assert len(submissions) == 250
    first_result = min(request["answered"] for request in fetched)
    assert max(request["came"] for request in submissions) < first_result


@pytest.mark.usefixtures("host")
def test_a_server_that_takes_few_at_once_is_not_sent_more(log_of: Callable[..., dict[str, Any]]) -> None:
    """Not even before it has said how many: it would end the connection, and all that was sent on it."""
    routes = [request["route"] for request in log_of(200, streams=5)["requests"]]
    assert routes.count("asample") == 200


def sample(service_client: ServiceClient, requests: int) -> None:
    """Ask for so many at once: each must get what the engine said to it."""
    client = service_client.create_sampling_client(base_model="tinker-sidecar/sim")
    params = types.SamplingParams(max_tokens=4, seed=1)
    futures = [client.sample(types.ModelInput.from_ints([n]), 1, params) for n in range(requests)]
    tokens = [future.result(30).sequences[0].tokens for future in futures]
    assert tokens == [expected_tokens([n], 1, 0, 4) for n in range(requests)]


@pytest.mark.usefixtures("host", "tls_server")
def test_an_unknown_authority_is_refused(tls_server: TlsServer) -> None:
    with pytest.raises(APIConnectionError, match="certificate"):
        ServiceClient(base_url=tls_server.base_url, api_key="tml-tests")


def test_a_shared_sidecar_trusts_whom_each_client_trusts(
    tls_server: TlsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has started it, and in whatever order they come."""
    monkeypatch.setenv("TINKER_SUBPROCESS_SAMPLING", "shared")
    for trusting in (False, True, False):
        if trusting:
            monkeypatch.setenv("SSL_CERT_FILE", str(tls_server.authority_file))
            with ServiceClient(base_url=tls_server.base_url, api_key="tml-tests") as service_client:
                sample(service_client, 10)
        else:
            monkeypatch.delenv("SSL_CERT_FILE", raising=False)
            with pytest.raises(APIConnectionError, match="certificate"):
                ServiceClient(base_url=tls_server.base_url, api_key="tml-tests")


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
