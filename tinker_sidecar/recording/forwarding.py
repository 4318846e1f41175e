"""An application that passes each request on to another server, as it is, and the answer back."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from wreq import CertStore, HeaderMap, Method

from tinker_sidecar.addresses import without_final_dot
from tinker_sidecar.engine.certificates import trusted_authorities
from tinker_sidecar.engine.http_client import Connections

__all__ = ["Upstream", "open_upstream", "way_to"]

_SILENCE = 120.0
"""Seconds that the server may be silent: long polls take 45."""

_Message = MutableMapping[str, Any]

_OF_THE_CONNECTION = frozenset(
    (
        b"connection",
        b"content-length",
        b"expect",
        b"host",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Headers that are not passed on: they are about one connection, and there are two."""


class Upstream:
    """The server at `base_url`, by these `connections`. Keys pass by and are not looked at."""

    def __init__(self, base_url: str, connections: Connections) -> None:
        self._base_url = without_final_dot(base_url).rstrip("/")
        self._connections = connections

    async def __call__(
        self,
        scope: _Message,
        receive: Callable[[], Awaitable[_Message]],
        send: Callable[[_Message], Awaitable[None]],
    ) -> None:
        """Answer one request, as ASGI has it."""
        method: Method | None = getattr(Method, scope["method"], None)
        if method is None:
            await _answer(send, 501, [], b"")
            return
        url = self._base_url + scope["raw_path"].decode("ascii")
        if scope["query_string"]:
            url += "?" + scope["query_string"].decode("ascii")
        body = await _whole(receive)
        headers = HeaderMap()
        for name, value in _passed_on(scope["headers"]):
            headers.append(name.decode("latin-1"), value.decode("latin-1"))
        try:
            answer = await self._connections.ask(method, url, headers, body or None)
        except Exception as error:  # noqa: BLE001  # A library's errors are many.
            # Its own words may quote a password in the address. A client tries again, as at any 502.
            await _answer(send, 502, [(b"content-type", b"application/json")], _unreachable(error))
            return
        received = ((bytes(name), bytes(value)) for name, value in answer.headers)
        await _answer(send, answer.status, _passed_on(received), answer.content)


def open_upstream(base_url: str) -> Upstream:
    """The server at `base_url`, by the way that the environment names."""
    return Upstream(base_url, Connections(base_url, *way_to(base_url), _SILENCE))


def way_to(base_url: str) -> tuple[str | None, Callable[[], CertStore]]:
    """The proxy for the server at `base_url`, if there is one, and the authorities to trust, by what the
    environment of this process says.
    """
    server, proxies = urlsplit(base_url), getproxies_environment()
    proxy = None if proxy_bypass(server.netloc) else proxies.get(server.scheme) or proxies.get("all")
    return proxy, partial(trusted_authorities, os.environ.get("SSL_CERT_FILE"))


async def _whole(receive: Callable[[], Awaitable[_Message]]) -> bytes:
    body = bytearray()
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


def _passed_on(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name.lower() not in _OF_THE_CONNECTION]


def _unreachable(error: Exception) -> bytes:
    return b'{"detail":"the server behind this one does not answer: %b"}' % type(error).__name__.encode()


async def _answer(
    send: Callable[[_Message], Awaitable[None]], status: int, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    encoded = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
