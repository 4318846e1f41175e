"""An application that passes each request on to another server, as it is, and the answer back."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from pyqwest import Client, Headers, HTTPTransport

from tinker_sidecar.engine.transports import open_transport

__all__ = ["Upstream", "open_upstream", "way_to"]

_SILENCE = 120.0
"""Seconds that the server may be silent: long polls take 45."""

_Message = MutableMapping[str, Any]

_OF_THE_CONNECTION = frozenset(
    (
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
"""Headers that are not passed on: they are about one connection, and there are two."""


class Upstream:
    """The server whose requests go through `transport` to `base_url`. Keys pass by and are not looked at."""

    def __init__(self, base_url: str, transport: HTTPTransport) -> None:
        self._base_url = base_url.rstrip("/")
        self._transport = transport
        self._client = Client(transport)

    async def __call__(
        self,
        scope: _Message,
        receive: Callable[[], Awaitable[_Message]],
        send: Callable[[_Message], Awaitable[None]],
    ) -> None:
        """Answer one request, as ASGI has it."""
        url = self._base_url + scope["raw_path"].decode("ascii")
        if scope["query_string"]:
            url += "?" + scope["query_string"].decode("ascii")
        body = await _whole(receive)
        headers = Headers(
            _passed_on([(a.decode("latin-1"), b.decode("latin-1")) for a, b in scope["headers"]])
        )
        try:
            answer = await self._client.execute(scope["method"], url, headers, body or None)
        except Exception as error:  # noqa: BLE001  # A library's errors are many.
            # Its own words may quote a password in the address. A client tries again, as at any 502.
            await _answer(send, 502, [("content-type", "application/json")], _unreachable(error))
            return
        await _answer(send, answer.status, _passed_on(answer.headers.items()), bytes(answer.content))

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.aclose()


def open_upstream(base_url: str) -> Upstream:
    """The server at `base_url`, by the way that the environment names."""
    return Upstream(base_url, open_transport(base_url, *way_to(base_url), _SILENCE))


def way_to(base_url: str) -> tuple[str | None, str | None]:
    """The proxy for the server at `base_url`, and the file of authorities to trust, that the environment of
    this process names, if it does.
    """
    server, proxies = urlsplit(base_url), getproxies_environment()
    proxy = None if proxy_bypass(server.netloc) else proxies.get(server.scheme) or proxies.get("all")
    return proxy, os.environ.get("SSL_CERT_FILE")


async def _whole(receive: Callable[[], Awaitable[_Message]]) -> bytes:
    body = bytearray()
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


def _passed_on(headers: Any) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() not in _OF_THE_CONNECTION]


def _unreachable(error: Exception) -> bytes:
    return b'{"detail":"the server behind this one does not answer: %b"}' % type(error).__name__.encode()


async def _answer(
    send: Callable[[_Message], Awaitable[None]], status: int, headers: list[tuple[str, str]], body: bytes
) -> None:
    encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    encoded.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
