"""The address of something else than a Tinker server: the error names all of it and asks."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.client.recorder import recording
from tests.local_server.api import SIM
from tinker_client import APIConnectionError, APIError, SamplingClient, ServiceClient, TinkerError
from tinker_client.local_server import LocalServer, start_local_server

pytestmark = pytest.mark.usefixtures("host")


@contextlib.contextmanager
def web_server(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class Files(http.server.SimpleHTTPRequestHandler):
    """What `python -m http.server` runs: it has no POST at all."""

    def log_message(self, *_: object) -> None:
        pass


class Pages(Files):
    """Every address has a page, as that of a router or a sign-in has."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>Welcome</html>")


def assert_asks(base_url: str, said: str) -> None:
    with pytest.raises(APIError, match=said) as caught:
        ServiceClient(base_url=base_url, api_key="tml-tests")
    assert f"{base_url}/api/v1/" in str(caught.value)
    assert "is base_url right?" in str(caught.value)


def test_a_path_that_is_not_there(sim_server: LocalServer) -> None:
    assert_asks(sim_server.base_url + "/services/tinker-prod", "HTTP 404")


@pytest.mark.parametrize(("handler", "said"), [(Files, "HTTP 501"), (Pages, "malformed answer")])
def test_another_kind_of_server(handler: type[Files], said: str) -> None:
    with web_server(handler) as base_url:
        assert_asks(base_url, said)


@pytest.mark.parametrize("base_url", ["http://[bad", "nowhere"])
def test_a_handle_that_names_no_address(service_client: ServiceClient, base_url: str) -> None:
    client = service_client.create_sampling_client(base_model="tinker-sidecar/sim")
    fields = json.loads(base64.urlsafe_b64decode(client.get_sampler_handle())) | {"base_url": base_url}
    handle = base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()
    with pytest.raises((TinkerError, ValueError)):
        SamplingClient.from_sampler_handle(handle, api_key="tml-tests").get_base_model()


def test_nobody_there() -> None:
    assert_asks("http://127.0.0.1:1", "refused")


def test_where_a_session_was_opened_the_address_is_right() -> None:
    with (
        closing(start_local_server("sim", "--fault", "create_sampling_session:404")) as server,
        ServiceClient(base_url=server.base_url, api_key="tml-tests") as service_client,
        pytest.raises(APIError, match="HTTP 404") as caught,
    ):
        service_client.create_sampling_client(base_model=SIM)
    assert "base_url" not in str(caught.value)


def test_a_password_in_the_address_is_sent_and_never_shown(
    sim_server: LocalServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    shown = []
    with recording(sim_server.base_url) as recorder:
        base_url = recorder.base_url.replace("://", "://user:very%20secret@")
        with ServiceClient(base_url=base_url, api_key="tml-tests") as service_client:
            shown += [repr(service_client), repr(service_client._session.settings)]
            with pytest.raises(APIError) as caught:
                service_client.create_sampling_client(base_model="no such model")
            shown.append(str(caught.value))
    assert {call.headers["authorization"] for call in recorder.calls} == {"Basic dXNlcjp2ZXJ5IHNlY3JldA=="}
    for broken in (base_url, "http://user:very%20secret@127.0.0.1:x"):
        with pytest.raises(Exception, match="http://") as caught:
            ServiceClient(base_url=broken, api_key="tml-tests")
        assert isinstance(caught.value, APIConnectionError) == (broken == base_url)
        shown.append(str(caught.value))
    assert not [text for text in (*shown, caplog.text) if "secret" in text]
