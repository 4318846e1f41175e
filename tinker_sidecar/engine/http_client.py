"""How connections to a server are made, and what the HTTP library says of those that fail.

The library is wreq: of those that were compared, it gets the most done beside threads that hold the GIL, for
half the processor time of most (docs/performance-notes.md).
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from time import monotonic
from typing import NamedTuple, TypedDict

from wreq import CertStore, Client, DnsOptions, HeaderMap, Http2Options, Method, Proxy, exceptions
from wreq.redirect import Policy

from tinker_sidecar.engine.http_runtime import http_runtime

__all__ = ["NOT_CONNECTED", "Connections", "UsedClient", "header", "reason", "seconds_silent"]

NOT_CONNECTED = (exceptions.ConnectionError, exceptions.ProxyConnectionError)
"""The library's errors before anything of the request is sent."""

_LONGEST = 300.0
"""Seconds that a request may take in all, however steadily an answer drips."""

_IDLE = 12.0
"""Seconds after which connections that are not in use are closed. It is more than the 10 s between
heartbeats, which all take the same one."""

_TO_CONNECT = 10.0

_STREAMS = 100
"""Requests that a connection of HTTP/2 takes at once: as few as servers allow, and the library has one
connection for all that a client asks."""

_WINDOW = 4 << 20
"""Bytes of an answer that may be on their way in HTTP/2, so that a large result does not wait for a server
far away once for every 64 KiB of it."""

_CUT_OFF = "the connection was closed before the answer was whole"

_NO_TLS = "what it says is not TLS (does the server speak TLS? If not, its address begins with http://)"

_WORDS = {
    "CERTIFICATE_VERIFY_FAILED": "its certificate is of an unknown authority, for another name, or out of "
    "date (SSL_CERT_FILE may name a file with the certificates of the authorities to trust)",
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "HTTP_REQUEST": _NO_TLS,
    "ProxyAuthRequired": "the proxy wants a user and a password",
    "TunnelUnsuccessful": "the proxy refuses to connect to it",
    "IncompleteMessage": _CUT_OFF,
    "IncompleteBody": _CUT_OFF,
    "UnexpectedEof": _CUT_OFF,
    "Parse": "the answer is not HTTP",
}
"""For names that the library's errors have in them."""

_URL = re.compile(r"\bur[il]: [^ ]*,")
_OF_THE_SYSTEM = re.compile(r'Os \{ code: (\d+), kind: \w+, message: "([^"]*)" \}')
_QUOTED = re.compile(r'(?:error|reason): "([^"]+)"')
_OF_HTTP2 = re.compile(r"Http2, Error \{ kind: (\w+)\(.*?([A-Z_]{4,})")


class _Settings(TypedDict, total=False):
    timeout: timedelta
    read_timeout: timedelta
    tls_verify: CertStore
    no_proxy: bool
    proxies: list[Proxy]


class Answer(NamedTuple):
    """A whole answer, whatever its status."""

    status: int
    headers: HeaderMap
    content: bytes


class Connections:
    """Connections to `address`, on which the server may be silent for `silence` seconds; None: for ever.

    `longest` and `idle` are for servers that the defaults, which are for Tinker's, do not fit.

    `trusted` is asked for the authorities where a certificate will have to be checked, and may raise.
    """

    def __init__(
        self,
        address: str,
        proxy: str | None,
        trusted: Callable[[], CertStore],
        silence: float | None,
        *,
        longest: float | None = _LONGEST,
        idle: float = _IDLE,
    ) -> None:
        # Without a word about proxies the library would look for one in the environment, by its own rules.
        settings: _Settings = {"no_proxy": True} if proxy is None else {"proxies": [Proxy.all(proxy)]}
        if silence is not None:
            settings["read_timeout"] = timedelta(seconds=silence)
        if longest is not None:
            settings["timeout"] = timedelta(seconds=longest)
        is_secure = address.startswith("https:")
        if is_secure or (proxy or "").startswith("https:"):
            settings["tls_verify"] = trusted()
        self._settings = settings
        self._idle = idle
        self._most = _STREAMS if is_secure else sys.maxsize
        self._clients: list[UsedClient] = []
        self._used_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def client(self) -> UsedClient:
        """One that has room for another request: `under_way` is to be one more until that is over."""
        self._used_at = monotonic()
        for client in self._clients:
            if client.under_way < self._most:
                return client
        client = self._open()
        self._clients.append(client)
        if self._timer is None:
            self._look_in(self._idle)
        return client

    async def ask(
        self, method: Method, url: str, headers: HeaderMap | Mapping[str, str], body: bytes | None
    ) -> Answer:
        """What the server answers, however long that is. Raises the library's errors."""
        used = self.client()
        used.under_way += 1
        try:
            async with await used.client.request(method, url, headers=headers, body=body) as answer:
                return Answer(answer.status.as_int(), answer.headers, bytes(await answer.bytes()))
        finally:
            used.under_way -= 1

    def close(self) -> None:
        """Close all of them, each when what is under way on it has ended."""
        self._clients.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_in(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        """Close them if they have not been used for a while: the library does so when it is next used."""
        left = self._used_at + self._idle - monotonic()
        if left > 0 or any(client.under_way for client in self._clients):
            self._look_in(max(left, self._idle / 4))
        else:
            self.close()

    def _open(self) -> UsedClient:
        return UsedClient(
            Client(
                **self._settings,
                runtime=http_runtime(),
                connect_timeout=timedelta(seconds=_TO_CONNECT),
                pool_idle_timeout=timedelta(seconds=self._idle),
                pool_max_idle_per_host=4096,
                http2_options=Http2Options(
                    # Until the server has said how many it takes: it may end a connection that has more.
                    initial_max_send_streams=1,
                    initial_window_size=_WINDOW,
                    initial_connection_window_size=4 * _WINDOW,
                ),
                dns_options=DnsOptions(system_dns=True),
                redirect=Policy.none(),  # A redirect would carry the key to another host.
                # An answer is unpacked by us, no further than it may be long.
                gzip=False,
                brotli=False,
                deflate=False,
                zstd=False,
            )
        )


class UsedClient:
    """A client of the HTTP library, and how many requests are under way there."""

    __slots__ = ("client", "under_way")

    def __init__(self, client: Client) -> None:
        self.client = client
        self.under_way = 0


def header(headers: HeaderMap, name: str) -> str:
    """The first value of `name`, or nothing."""
    value = headers[name]
    return "" if value is None else str(value, "latin-1")


def seconds_silent(error: Exception, silence: float) -> float | None:
    """How long the server was waited for, if `error` is that this was too long, with a limit of `silence`."""
    text = _text(error)
    if not isinstance(error, exceptions.TimeoutError) and "TimedOut" not in text:
        return None
    return _TO_CONNECT if "kind: Connect" in text or "kind: ProxyConnect" in text else silence


def reason(error: Exception) -> str:
    """Why `error` came, in a few words."""
    text = _text(error)
    for name, words in _WORDS.items():
        if name in text:
            return words
    if found := _OF_THE_SYSTEM.search(text):
        return f"{found[2]} (os error {found[1]})"
    if found := _QUOTED.search(text):
        return found[1]
    if found := _OF_HTTP2.search(text):
        return f"the server ended it ({found[1]}, {found[2]})"
    return f"{type(error).__name__} in the HTTP library"


def _text(error: Exception) -> str:
    """All that the library knows of it, but for the URL, in which any word may be."""
    return _URL.sub("", str(error))
