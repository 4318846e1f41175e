"""White space around a credential is no part of it; what is malformed is refused, and printed nowhere."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.client.recorder import recording
from tinker_client import ServiceClient, TinkerError
from tinker_client.config import DEFAULT_BASE_URL
from tinker_client.local_server import LocalServer, start_local_server

pytestmark = pytest.mark.usefixtures("host", "home")

KEY = "tml-very-secret"


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with closing(start_local_server("sim", api_key=KEY)) as server:
        yield server


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


class Source:
    """Somewhere that a key may come from."""

    def __init__(self, name: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.name = name
        self._home = home
        self._monkeypatch = monkeypatch

    def connect(self, base_url: str, key: str) -> ServiceClient:
        if self.name == "api_key":
            return ServiceClient(base_url=base_url, api_key=key)
        if self.name == "TINKER_API_KEY":
            self._monkeypatch.setenv("TINKER_API_KEY", key)
        else:
            (self._home / ".tinker").mkdir(exist_ok=True)
            stored = {"default": "work", "keys": {"work": {"key": key}}}
            (self._home / ".tinker" / "credentials.json").write_text(json.dumps(stored))
        return ServiceClient(base_url=base_url)


@pytest.fixture(params=["api_key", "TINKER_API_KEY", "credentials.json"])
def source(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    return Source(request.param, home, monkeypatch)


@pytest.mark.parametrize("key", [f"{KEY}\n", f"  {KEY}\r\n\t"])
def test_white_space_around_a_key_is_no_part_of_it(server: LocalServer, source: Source, key: str) -> None:
    with source.connect(server.base_url, key) as client:
        assert client.get_server_capabilities().supported_models


def told(error: BaseException) -> str:
    """All that a tool may print of an error: our variables, too."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    ours = [frame for frame in shown.stack if "tinker_client" in frame.filename]
    return " ".join([repr(error), str(error.__dict__), *(str(frame.locals) for frame in ours)])


@pytest.mark.parametrize(
    "key", ["warn: old\ntml-very-secret", "tml-very secret", "tml-very-secret\x01", "sk-very-secret"]
)
def test_a_malformed_key_is_not_repeated(source: Source, key: str) -> None:
    """Nor shown to the hosted service."""
    with pytest.raises(
        TinkerError, match=rf"an API key starts with .*{source.name}.* does not look like one"
    ) as caught:
        source.connect(DEFAULT_BASE_URL, key)
    assert "secret" not in str(caught.value)
    if source.name != "api_key":  # An argument is the caller's, who shows it or not.
        assert "secret" not in told(caught.value)


def test_a_key_that_is_no_text(server: LocalServer) -> None:
    with pytest.raises(TypeError, match="the api_key argument must be a str, got bytes"):
        ServiceClient(base_url=server.base_url, api_key=b"tml-very-secret")  # type: ignore[arg-type]  # the point


def test_a_stored_file_that_is_no_text(server: LocalServer, home: Path) -> None:
    (home / ".tinker").mkdir()
    (home / ".tinker" / "credentials.json").write_bytes(b'{"default": "\xff"}')
    with pytest.raises(TinkerError, match=r"cannot read .*credentials\.json"):
        ServiceClient(base_url=server.base_url)


def test_white_space_around_a_header_is_no_part_of_it(server: LocalServer) -> None:
    with recording(server.base_url) as recorder:
        headers = {"CF-Access-Client-Secret": " a secret\n", "X-Team": "größe", "X-Empty": ""}
        ServiceClient(base_url=recorder.base_url, api_key=KEY, default_headers_overrides=headers).close()
        sent = recorder.to("create_session")[0].headers
    assert sent["cf-access-client-secret"] == "a secret"
    assert sent["x-team"].encode("latin-1").decode() == "größe"
    assert sent["x-empty"] == ""


HEADERS: dict[str, tuple[Mapping[Any, Any], type[Exception], str]] = {
    "a line break": (
        {"CF-Secret": "warn\nvery-secret"},
        ValueError,
        r"headers\['CF-Secret'\] has a line break",
    ),
    "a control character": (
        {"CF-Secret": "very-secret\x00"},
        ValueError,
        r"headers\['CF-Secret'\] has a line break",
    ),
    "half a character": (
        {"CF-Secret": "very-secret\udc80"},
        ValueError,
        r"headers\['CF-Secret'\] has a line break",
    ),
    "a name that is none": ({"very-secret: x": "y"}, ValueError, "a name that is not one of an HTTP header"),
    "no name": ({"": "very-secret"}, ValueError, "a name that is not one of an HTTP header"),
    "no text": ({"CF-Secret": b"very-secret"}, TypeError, "headers must have strings for names and values"),
}


@pytest.mark.parametrize(("headers", "kind", "message"), HEADERS.values(), ids=HEADERS)
def test_a_malformed_header_is_not_repeated(
    server: LocalServer, headers: Mapping[Any, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        ServiceClient(base_url=server.base_url, api_key=KEY, default_headers_overrides=headers)
    assert "very-secret" not in str(caught.value)


ADDRESSES = [
    "ftp://user:very-secret@127.0.0.1",
    "user:very-secret@127.0.0.1",
    "http://user:very/secret@127.0.0.1",
    "http://user:very-secret@127.0.0.1:port",
    "http://user:very-secret@[bad",
    "http://user:very-secret@127.0.0.1\n.evil",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_password_in_a_malformed_address_is_not_repeated(address: str) -> None:
    with pytest.raises(TinkerError, match="base_url must be") as caught:
        ServiceClient(base_url=address, api_key=KEY)
    assert "user" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_password_in_the_address_is_shown_by_no_repr(server: LocalServer) -> None:
    address = server.base_url.replace("//", "//user:very-secret@")
    with ServiceClient(base_url=address + "\n", api_key=KEY) as service_client:
        client = service_client.create_sampling_client(base_model="tinker-sidecar/sim")
        shown = repr([service_client, client, service_client._session.settings, client.__reduce__()])
        assert "very-secret" not in shown
        assert server.base_url.replace("//", "//***@") in shown
