"""A sampler handle names a sampler on a server; anybody can make one, and it gets no key not meant for it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.client.copies import KEY, MODEL, SAMPLE_HANDLE, TOKENS, in_another_process, sample
from tests.client.recorder import Recorder, recording
from tinker_client import SamplingClient, ServiceClient, TinkerError
from tinker_client.local_server import LocalServer, start_local_server

pytestmark = pytest.mark.usefixtures("host", "home")


@pytest.fixture
def home(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def stranger(sim_server: LocalServer) -> Iterator[Recorder]:
    """A server that writes down what it is sent."""
    with recording(sim_server.base_url) as recorder:
        yield recorder


def handle_of(base_url: str, sampling_session_id: str = "s:sample:0") -> str:
    fields = {"base_url": base_url, "session_id": "s", "sampling_session_id": sampling_session_id}
    fields |= {"base_model": None, "subprocess_sampling": False}
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()


def of_another_sampler(handle: str) -> str:
    """`handle`, but for a sampler that its session does not have."""
    fields = base64.urlsafe_b64decode(handle).replace(b":sample:0", b":sample:9")
    return base64.urlsafe_b64encode(fields).decode()


# Keys


def test_a_handle_holds_no_key(key_server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even one that was given as an argument."""
    service_client = ServiceClient(base_url=key_server.base_url, api_key=KEY)
    handle = service_client.create_sampling_client(base_model=MODEL).get_sampler_handle()
    assert KEY.encode() not in base64.urlsafe_b64decode(handle)
    configured = {"TINKER_BASE_URL": key_server.base_url, "TINKER_API_KEY": KEY}
    assert in_another_process(SAMPLE_HANDLE, handle, **configured) == str(TOKENS)
    monkeypatch.setenv("TINKER_API_KEY", "tml-a-wrong-one")
    assert sample(SamplingClient.from_sampler_handle(handle, api_key=KEY)) == TOKENS


@pytest.mark.parametrize("variable", ["TINKER_API_KEY", "TINKER_CREDENTIAL_CMD"])
@pytest.mark.parametrize("configured", [None, "http://127.0.0.1:1", "local", "http://[bad"])
def test_the_key_of_the_environment_does_not_go_there(
    stranger: Recorder, monkeypatch: pytest.MonkeyPatch, variable: str, configured: str | None
) -> None:
    monkeypatch.setenv(variable, KEY if variable == "TINKER_API_KEY" else f"echo {KEY}")
    if configured is not None:
        monkeypatch.setenv("TINKER_BASE_URL", configured)
    with pytest.raises(TinkerError, match=rf"server is {stranger.base_url}, but .*api_key=") as caught:
        SamplingClient.from_sampler_handle(handle_of(stranger.base_url))
    assert stranger.calls == []
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("end", ["", "/"])
def test_it_goes_to_the_configured_server(
    sim_server: LocalServer, stranger: Recorder, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    monkeypatch.setenv("TINKER_BASE_URL", stranger.base_url + end)
    handle = ServiceClient().create_sampling_client(base_model=MODEL).get_sampler_handle()
    assert sample(SamplingClient.from_sampler_handle(handle)) == TOKENS


def test_elsewhere_goes_the_key_that_is_given(stranger: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    with ServiceClient(base_url=stranger.base_url, api_key="tml-first") as service_client:
        handle = service_client.create_sampling_client(base_model=MODEL).get_sampler_handle()
        assert sample(SamplingClient.from_sampler_handle(handle, api_key="tml-second")) == TOKENS
    keys = {call.headers.get("x-api-key") for call in stranger.calls}
    assert keys == {"tml-first", "tml-second"}


def test_a_session_that_is_open_here_needs_no_key_again(stranger: Recorder) -> None:
    with ServiceClient(base_url=stranger.base_url, api_key="tml-first") as service_client:
        client = service_client.create_sampling_client(base_model=MODEL)
        assert sample(SamplingClient.from_sampler_handle(client.get_sampler_handle())) == TOKENS


def test_nor_can_a_server_ask_for_what_the_command_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server's flags may say that the command's credential is to be preferred."""
    flags = ("--jwt", "--client-config", 'credential_default_source="credential_cmd"')
    with closing(start_local_server("sim", *flags)) as server, recording(server.base_url) as recorder:
        with ServiceClient(base_url=recorder.base_url, api_key="tml-given") as service_client:
            handle = service_client.create_sampling_client(base_model=MODEL).get_sampler_handle()
        monkeypatch.setenv("TINKER_CREDENTIAL_CMD", f"echo {KEY}")
        assert sample(SamplingClient.from_sampler_handle(handle, api_key="tml-given")) == TOKENS
        bought = [call.headers["x-api-key"] for call in recorder.to("auth/token")]
    assert set(bought) == {"tml-given"}


def test_a_password_in_the_address_stays_out_of_the_handle(
    sim_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = sim_server.base_url.replace("//", "//user:very-secret@")
    with ServiceClient(base_url=address, api_key="tml-tests") as service_client:
        handle = service_client.create_sampling_client(base_model=MODEL).get_sampler_handle()
    assert b"very-secret" not in base64.urlsafe_b64decode(handle)
    monkeypatch.setenv("TINKER_BASE_URL", address)
    monkeypatch.setenv("TINKER_API_KEY", "tml-tests")
    client = SamplingClient.from_sampler_handle(handle)
    assert client._sampler.session.settings.base_url == address
    assert sample(client) == TOKENS


# What is no handle, and what leads nowhere


@pytest.mark.parametrize("handle", ["", "%%%", "e30=", "bm90IGpzb24=", "[]", "é"])
def test_what_is_not_a_handle(handle: str) -> None:
    with pytest.raises(ValueError, match="handle"):
        SamplingClient.from_sampler_handle(handle, api_key=KEY)


def test_a_handle_of_a_session_that_is_gone(service_client: ServiceClient) -> None:
    handle = service_client.create_sampling_client(base_model=MODEL).get_sampler_handle()
    client = SamplingClient.from_sampler_handle(of_another_sampler(handle), api_key=KEY)
    with pytest.raises(TinkerError, match="unknown"):
        sample(client)


def test_a_copy_of_a_sampler_that_is_gone_fails_each_time(sim_server: LocalServer) -> None:
    """What one copy was told is no answer to the next."""
    with ServiceClient(base_url=sim_server.base_url, api_key="tml-tests") as service_client:
        handle = service_client.create_sampling_client(base_model=MODEL).get_sampler_handle()
        gone = of_another_sampler(handle)
        copies = [SamplingClient.from_sampler_handle(gone) for _ in range(2)]
        for copy in copies:
            with pytest.raises(TinkerError, match="unknown"):
                sample(copy)
        service_client.create_sampling_client(base_model=MODEL)
        assert copies[0]._sampler is copies[1]._sampler
        later = SamplingClient.from_sampler_handle(gone)
        assert later._sampler is not copies[0]._sampler


@pytest.mark.parametrize("base_url", ["", "file:///etc/passwd", "local", "http://a b"])
def test_what_is_no_address(base_url: str) -> None:
    with pytest.raises(TinkerError, match="base_url must be"):
        SamplingClient.from_sampler_handle(handle_of(base_url), api_key=KEY)


def test_an_id_leads_nowhere_else() -> None:
    """It is one segment of a path, whatever it has in it."""
    no_join = ("--client-config", "sample_join_sampling_session=false")
    with closing(start_local_server("sim", *no_join)) as server, recording(server.base_url) as recorder:
        handle = handle_of(recorder.base_url, "../auth/token?a#b")
        SamplingClient.from_sampler_handle(handle, api_key="tml-tests").result(30)
        routes = [call.route for call in recorder.calls]
    assert "samplers/..%2Fauth%2Ftoken%3Fa%23b" in routes
    assert not [route for route in routes if "auth/token" in route]
