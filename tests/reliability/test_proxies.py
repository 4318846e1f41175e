"""The environment's proxies hold for a server, but not for the one that a program starts for itself."""

from __future__ import annotations

import base64
import pickle
from collections.abc import Iterator

import pytest

from tests.reliability.forward_proxy import ForwardProxy, forward_proxy
from tinker_client import APIConnectionError, APIError, SamplingClient, ServiceClient, TinkerError, types
from tinker_client.local_server import LocalServer
from tinker_client.proxies import proxy_for
from tinker_sidecar.local_server.engines.sim import expected_tokens

NOWHERE = "http://user:very-secret@127.0.0.1:1"
NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def proxy() -> Iterator[ForwardProxy]:
    with forward_proxy() as proxy:
        yield proxy


def sampled(client: SamplingClient) -> list[int]:
    params = types.SamplingParams(max_tokens=4, seed=1)
    return client.sample(types.ModelInput.from_ints([1]), 1, params).result(30).sequences[0].tokens


def connected(server: LocalServer) -> SamplingClient:
    service_client = ServiceClient(base_url=server.base_url, api_key="tml-tests")
    return service_client.create_sampling_client(base_model="tinker-sidecar/sim")


RIGHT = expected_tokens([1], 1, 0, 4)


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_the_own_local_server_is_reached_directly(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """So it is by copies of a client, which may wake up in a process that did not start it."""
    monkeypatch.setenv("TINKER_SIDECAR_LOCAL_ENGINE", "sim")
    monkeypatch.setenv(variable, NOWHERE)
    with ServiceClient(base_url="local") as service_client:
        client = service_client.create_sampling_client(base_model="tinker-sidecar/sim")
        assert sampled(client) == RIGHT
        assert sampled(pickle.loads(pickle.dumps(client))) == RIGHT
        key = service_client._session.settings.api_key
        assert sampled(SamplingClient.from_sampler_handle(client.get_sampler_handle(), api_key=key)) == RIGHT


@pytest.mark.usefixtures("host")
def test_another_server_is_reached_through_the_proxy(
    monkeypatch: pytest.MonkeyPatch, sim_server: LocalServer, proxy: ForwardProxy
) -> None:
    proxy.authorization = "Basic " + base64.b64encode(b"user:pass word").decode()
    monkeypatch.setenv("HTTP_PROXY", f"http://user:pass%20word@{proxy.address}")
    assert sampled(connected(sim_server)) == RIGHT
    assert f"{sim_server.base_url}/api/v1/asample" in proxy.passed


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("no_proxy", ["*", "127.0.0.0/8", "localhost, 127.0.0.1", "[::1] 127.0.0.1:{port}"])
def test_no_proxy_excepts_a_server(
    monkeypatch: pytest.MonkeyPatch, sim_server: LocalServer, proxy: ForwardProxy, no_proxy: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
    monkeypatch.setenv("NO_PROXY", no_proxy.format(port=sim_server.base_url.rpartition(":")[2]))
    assert sampled(connected(sim_server)) == RIGHT
    assert proxy.passed == []


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_error_names_the_proxy_and_not_its_password(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, scheme: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", NOWHERE)
    with pytest.raises(APIConnectionError, match=r"the proxy http://\*\*\*@127\.0\.0\.1:1") as caught:
        ServiceClient(base_url=f"{scheme}://192.0.2.1:8000", api_key="tml-tests")
    assert "very-secret" not in str(caught.value) + caplog.text


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(
    ("scheme", "refusal"), [("http", "407 .*who are you"), ("https", "the proxy refuses")]
)
def test_a_refusal_of_the_proxy_names_it(
    monkeypatch: pytest.MonkeyPatch, proxy: ForwardProxy, scheme: str, refusal: str
) -> None:
    proxy.authorization = "Basic something"
    monkeypatch.setenv("ALL_PROXY", proxy.address)
    with pytest.raises(APIError, match=refusal) as caught:
        ServiceClient(base_url=f"{scheme}://192.0.2.1:8000", api_key="tml-tests")
    assert f"through the proxy http://{proxy.address}" in str(caught.value)


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(
    "proxy", ["ftp://user:very-secret@h", "http://user:very-secret@", "http://very-secret:x"]
)
def test_a_proxy_that_is_none(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(TinkerError, match="HTTP_PROXY") as caught:
        ServiceClient(base_url="http://192.0.2.1", api_key="tml-tests")
    assert "very-secret" not in str(caught.value)


PROXY = "http://proxy:3128"


@pytest.mark.parametrize(
    ("base_url", "variables", "expected"),
    [
        ("http://a.example", {}, None),
        ("http://a.example", {"HTTP_PROXY": PROXY}, PROXY),
        ("http://a.example", {"HTTP_PROXY": "proxy:3128"}, PROXY),
        ("http://a.example", {"HTTP_PROXY": PROXY, "http_proxy": ""}, None),
        ("http://a.example", {"HTTP_PROXY": "http://other", "http_proxy": PROXY}, PROXY),
        ("http://a.example", {"HTTPS_PROXY": PROXY}, None),
        ("https://a.example", {"HTTPS_PROXY": PROXY, "ALL_PROXY": "http://other"}, PROXY),
        (
            "https://a.example",
            {"HTTP_PROXY": "http://other", "ALL_PROXY": "socks5h://s:1080"},
            "socks5h://s:1080",
        ),
    ],
)
def test_which_variable_counts(
    monkeypatch: pytest.MonkeyPatch, base_url: str, variables: dict[str, str], expected: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(base_url) == expected


@pytest.mark.parametrize(
    ("server", "no_proxy", "excepted"),
    [
        ("a.example", "*", True),
        ("a.example", "b.example,*", True),
        ("a.example", "example", True),
        ("a.example", ".example", True),
        ("a.example", "A.Example", True),
        ("a.example", "xa.example, b", False),
        ("xa.example", "a.example", False),
        ("a.example:8080", "a.example:8080", True),
        ("a.example:8080", "a.example", True),
        ("a.example:8080", "a.example:80", False),
        ("a.example", "a.example:80", True),
        ("10.1.2.3", "10.1.0.0/16", True),
        ("10.1.2.3", "10.2.0.0/16,10.1.2.4", False),
        ("10.1.2.3:8080", "10.1.2.3:8080", True),
        ("10.1.2.3", "3", False),
        ("[::1]:8000", "::1", True),
        ("[::1]:8000", "[::1]", True),
        ("[::1]:8000", "[::1]:8000", True),
        ("[::1]:8000", "[::1]:8001", False),
        ("[fd00::7]", "fd00::/8", True),
        ("[fd00::7]", "10.0.0.0/8", False),
    ],
)
def test_how_no_proxy_is_read(
    monkeypatch: pytest.MonkeyPatch, server: str, no_proxy: str, excepted: bool
) -> None:
    monkeypatch.setenv("HTTP_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert proxy_for(f"http://{server}/services") == (None if excepted else PROXY)
