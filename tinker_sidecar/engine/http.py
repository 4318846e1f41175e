"""HTTP to one Tinker server: the one place that knows which HTTP library we use."""

from __future__ import annotations

import itertools
import os
import resource
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple, TypeVar

import msgspec
from pyqwest import Client, HTTPTransport, ReadError, RemoteProtocolError, WriteError

from tinker_sidecar import __version__
from tinker_sidecar.engine.failures import connection_error, invalid_response, status_error, timeout_error
from tinker_sidecar.engine.limits import Budget
from tinker_sidecar.engine.pace import Pace

__all__ = ["API", "SDK_VERSION", "Http", "Lane", "Response"]

API = "/api/v1/"

SDK_VERSION = "0.38.0"
"""The `sdk_version` we report: the official SDK whose protocol this engine follows."""

_LONGEST = 300.0
"""Seconds that a request may take in all, however steadily an answer drips."""

_SHARES = {"POLL": 0.5, "SHORT": 0.25}
"""Of the descriptors this process may have, for the connections of a lane; the rest is for all else.

Without TLS there is no HTTP/2, and each request under way takes a connection."""

_PLENTY = 8192
"""Descriptors with which nothing needs counting."""

_T = TypeVar("_T")


class Lane(Enum):
    """A kind of request, with connections of its own so that none waits behind another kind.

    The value is how long the server may be silent, in seconds, before a request counts as lost.
    """

    CALL = 60.0
    SHORT = 20.0  # What a server answers at once: to submit a request, to fetch a result that is there.
    POLL = 50.0  # A long poll ends after about 45 s; a server that holds longer is asked anew.
    HEARTBEAT = 10.0


class Response(NamedTuple):
    status: int
    content_type: str
    content: bytes
    challenge: str
    """The `WWW-Authenticate` header."""

    def read(self, shape: type[_T], route: str) -> _T:
        """The body of a successful answer as `shape`; any other answer is raised as its error."""
        if self.status != 200:
            raise status_error(self.status, self.content, route)
        try:
            return msgspec.json.decode(self.content, type=shape)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise invalid_response(f"malformed answer from {route}: {error}", self.content) from None


class Http:
    """POSTs and GETs under `{base_url}/api/v1/`, authenticated, on a connection pool per `Lane`."""

    def __init__(self, base_url: str, headers: Mapping[str, str]) -> None:
        self._headers = {"user-agent": f"tinker-sidecar/{__version__}"} | {
            name.lower(): value for name, value in headers.items()
        }
        self._root = base_url + API
        self._lanes: dict[Lane, HTTPTransport] = {}
        self._clients: dict[Lane, Client] = {}
        self._idempotency_prefix = os.urandom(8).hex()
        self._counter = itertools.count()
        self._pace = Pace()
        self._rooms = {} if base_url.startswith("https:") else _rooms()

    async def post(
        self,
        route: str,
        body: bytes,
        token: str | None,
        headers: Mapping[str, str] | None = None,
        lane: Lane = Lane.CALL,
    ) -> Response:
        """Send one POST and return whatever the server answers; raise only when nothing came back."""
        sent = self._headers | {
            "content-type": "application/json",
            "x-idempotency-key": f"{self._idempotency_prefix}-{next(self._counter)}",
        }
        if token is not None:
            sent["x-api-key"] = token
        if headers is not None:
            sent.update(headers)
        return await self._request("POST", route, sent, body, lane)

    async def get(self, route: str, token: str | None) -> Response:
        """Send one GET, as `post` does."""
        sent = dict(self._headers)
        if token is not None:
            sent["x-api-key"] = token
        return await self._request("GET", route, sent, None, Lane.CALL)

    async def _request(
        self, method: str, route: str, headers: dict[str, str], body: bytes | None, lane: Lane
    ) -> Response:
        pace = self._pace if lane is Lane.SHORT else None
        room = self._rooms.get(lane)
        if room is not None:
            await room.take(1)
        entered, answered = None, False
        try:
            if pace is not None:
                entered = await pace.enter()
            client = self._clients.get(lane) or self._open(lane)  # Now: `renew` may have come in between.
            answer = await client.execute(method, self._root + route, headers, body)
            answered = answer.status == 200
        except TimeoutError:
            raise timeout_error(f"no answer from {self._root}{route} within {lane.value:.0f} s") from None
        except (ConnectionError, ReadError, WriteError, RemoteProtocolError) as error:
            raise connection_error(f"cannot reach {self._root}{route}: {_reason(error)}") from None
        finally:
            if pace is not None and entered is not None:
                pace.leave(entered, answered=answered)
            if room is not None:
                room.give_back(1)
        received = answer.headers
        return Response(
            answer.status,
            received.get("content-type", ""),
            answer.content,
            received.get("www-authenticate", ""),
        )

    def _open(self, lane: Lane) -> Client:
        transport = HTTPTransport(
            tls_include_system_certs=True,
            timeout=_LONGEST,
            read_timeout=lane.value,
            connect_timeout=10.0,
            pool_max_idle_per_host=4096,
            follow_redirects=False,  # A redirect would carry the key to another host.
            enable_otel=False,
        )
        self._lanes[lane] = transport
        self._clients[lane] = client = Client(transport)
        return client

    async def renew(self, lane: Lane) -> None:
        """Start over with new connections: some proxies poison the ones that are open."""
        self._clients.pop(lane, None)
        if transport := self._lanes.pop(lane, None):
            await transport.aclose()

    async def close(self) -> None:
        for lane in list(self._lanes):
            await self.renew(lane)


def _rooms() -> dict[Lane, Budget]:
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if not 0 < descriptors < _PLENTY:
        return {}
    return {Lane[name]: Budget(max(1, int(share * descriptors))) for name, share in _SHARES.items()}


def _reason(error: BaseException) -> str:
    """What went wrong at the bottom: the library's text names the URL and each layer above it."""
    reason = str(error).rsplit("): ", 1)[-1] or type(error).__name__
    if reason.endswith("InvalidContentType"):  # Of a TLS record, that is.
        reason += " (does the server speak TLS? If not, its address begins with http://)"
    return reason
