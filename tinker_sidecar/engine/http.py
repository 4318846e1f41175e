"""HTTP to one Tinker server."""

from __future__ import annotations

import base64
import functools
import itertools
import os
from collections.abc import Collection, Mapping
from enum import Enum, auto
from time import monotonic
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import msgspec
from wreq import HeaderMap

from tinker_sidecar import __version__
from tinker_sidecar.addresses import without_final_dot
from tinker_sidecar.credentials import without_password
from tinker_sidecar.engine.certificates import trusted_authorities
from tinker_sidecar.engine.content import ACCEPTED, received, unpacked
from tinker_sidecar.engine.failures import (
    IS_BASE_URL_RIGHT,
    EngineError,
    connection_error,
    invalid_response,
    status_error,
    timeout_error,
)
from tinker_sidecar.engine.http_client import Connections, header, reason, seconds_silent
from tinker_sidecar.engine.limits import Budget
from tinker_sidecar.engine.outage import Outage
from tinker_sidecar.engine.pace import Pace
from tinker_sidecar.engine.turns import PollTurns
from tinker_sidecar.ipc.protocol import Failure
from tinker_sidecar.system.descriptors import descriptor_limit

__all__ = ["API", "NO_HEADERS", "SDK_VERSION", "Http", "Lane", "Response"]

API = "/api/v1/"

SDK_VERSION = "0.38.0"
"""The `sdk_version` we report: the official SDK whose protocol this engine follows."""

_PLENTY = 8192
"""Descriptors with which nothing needs counting."""

_MOST_POLLS = 256
"""Samplers that each have a poll of their own open; when there are more, they take turns."""

_KIB, _MIB = 1 << 10, 1 << 20

_LIMITS = {
    "session_heartbeat": 64 * _KIB,
    "asample": 4 * _MIB,  # It has an id for each of the request's samples.
    "retrieve_futures": 32 * _MIB,  # It has an entry for each result since the last poll.
}
"""Bytes that an answer may have, by route; a result has as many as the request was told, and more room."""

_USUAL_LIMIT = 4 * _MIB

_FREQUENT = ("asample", "retrieve_future")
"""The two requests that make a sample. Their answers are read in one go even if the server does not say how
long they are, and only then measured."""

_NO_ANSWER = ("APIConnectionError", "APITimeoutError")
"""Kinds of failure."""

NO_HEADERS: Mapping[str, str] = {}
_NO_MAP: tuple[None, None, Collection[str]] = None, None, ()

_T = TypeVar("_T")


class Lane(Enum):
    """A kind of request, with connections of its own so that none waits behind another kind."""

    OTHER = auto()
    """Whatever is none of the following."""
    SHORT = auto()
    """What a server answers at once: to submit a request, to fetch a result that is there."""
    POLL = auto()
    """A long poll ends after about 45 s; a server that holds longer is asked anew."""
    HEARTBEAT = auto()

    __hash__ = object.__hash__  # That of enumerations is Python, and is asked for four times a sample.

    @property
    def silence(self) -> float:
        """Seconds that the server may be silent before a request counts as lost."""
        return _SILENCE[self]


_SILENCE = {Lane.OTHER: 60.0, Lane.SHORT: 20.0, Lane.POLL: 50.0, Lane.HEARTBEAT: 10.0}

_SHARES = {Lane.POLL: 0.5, Lane.SHORT: 0.25, Lane.OTHER: 0.125}
"""Of the descriptors this process may have, for the connections of a lane; the rest is for all else.

Without TLS there is no HTTP/2, and each request under way takes a connection."""

_POLLS_SHARE = 0.25
"""Of the descriptors, for the polls of samplers that have one for all their requests: half of the lane's."""


class Response(msgspec.Struct, frozen=True, gc=False):
    """What the server answered, whatever its status."""

    status: int
    content: bytes
    headers: HeaderMap
    place: str
    """Where it came from, for messages: the whole address, and through which proxy."""

    def header(self, name: str) -> str:
        """The first value of the header called `name`, or nothing."""
        return header(self.headers, name)

    def read(self, shape: type[_T]) -> _T:
        """The body of a successful answer as `shape`; any other answer is raised as its error."""
        if self.status != 200:
            raise self.error()
        try:
            return msgspec.json.decode(self.content, type=shape)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise invalid_response(f"malformed answer from {self.place}: {error}", self.content) from None

    def error(self) -> EngineError:
        """What an answer with another status than 200 amounts to."""
        return status_error(self.status, self.content, self.place, self.header("retry-after"))


class Http:
    """POSTs and GETs under `{base_url}/api/v1/`, authenticated, on a connection pool per `Lane`."""

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        proxy: str | None,
        authorities: str | None,
        pace: Pace,
        programs: Collection[int],
    ) -> None:
        address, basic = _apart(base_url)
        self._headers = (
            {"user-agent": f"tinker-sidecar/{__version__}", "accept-encoding": ACCEPTED}
            | basic
            | {name.lower(): value for name, value in headers.items()}
        )
        self._root = address + API
        self._proxy = proxy
        # Its lanes read them once: that takes 10 ms and more.
        self._trusted = functools.cache(functools.partial(trusted_authorities, authorities))
        self._through = "" if proxy is None else f" through the proxy {without_password(proxy)}"
        self._lanes: dict[Lane, Connections] = {}
        self._header_maps: dict[str, tuple[HeaderMap, str | None, Collection[str]]] = {}
        """By route, each with the credential in it, and the names of the headers of its own."""
        self._idempotency_prefix = os.urandom(8).hex()
        self._counter = itertools.count()
        self._pace = pace
        self.outage = Outage(address + self._through, programs)
        self._doubt = IS_BASE_URL_RIGHT  # Until there is an answer.
        descriptors = _PLENTY if address.startswith("https:") else _descriptors()
        self._rooms = _rooms(descriptors)
        self.turns = PollTurns(
            min(_MOST_POLLS, max(1, int(_POLLS_SHARE * descriptors))), lambda: self._pace.waiting > 0
        )
        """Whose turn it is to poll for all requests of a sampler."""

    def _all_headers(self, token: str | None, own: Mapping[str, str]) -> dict[str, str]:
        """What a request with this credential, and with headers of its `own`, is sent with."""
        return {**self._headers, **({} if token is None else {"x-api-key": token}), **own}

    def _headers_of_post(self, route: str, token: str | None, own: Mapping[str, str]) -> HeaderMap:
        """The same for the library, which copies it as soon as the request is sent.

        To make one for each would be a tenth of all that a request costs, so those to a route share it.
        """
        headers, its_token, names = self._header_maps.get(route, _NO_MAP)
        if headers is None or its_token != token or names != own.keys():
            headers = _header_map({**self._all_headers(token, own), "content-type": "application/json"})
            self._header_maps[route] = headers, token, frozenset(own)
        else:
            for name, value in own.items():
                headers[name] = value
        headers["x-idempotency-key"] = f"{self._idempotency_prefix}-{next(self._counter)}"
        return headers

    async def send(  # noqa: C901  # Twice a sample: a call for each of its parts would add up.
        self,
        route: str,
        body: bytes | None,
        token: str | None,
        own: Mapping[str, str] = NO_HEADERS,
        lane: Lane = Lane.OTHER,
        limit: int | None = None,
    ) -> Response:
        """Send one POST with `body` and headers of its `own`, or a GET without one, and return the answer.

        Raises `EngineError` when nothing came back, or more than `limit` bytes (default: by `route`).
        """
        pace, outage = (self._pace if lane is Lane.SHORT else None), self.outage
        is_quick = lane is Lane.SHORT or lane is Lane.HEARTBEAT
        room = self._rooms.get(lane)
        if room is not None:
            await room.take(1)
        asked_at = None
        answered = False
        url = self._root + route
        place = url + self._through
        limit = limit or _LIMITS.get(route, _USUAL_LIMIT)
        try:
            if pace is not None and not pace.try_take(1):
                await pace.wait(1, route == "asample")  # What has begun is finished first.
            asked_at = monotonic()
            if is_quick:
                outage.asked += 1
                if not outage.is_looking:
                    outage.look_again()
            # After the waits: `renew` may have come meanwhile.
            connections = self._lanes.get(lane) or self._open(lane)
            used = connections.client()
            used.under_way += 1
            try:
                if body is not None:
                    headers = self._headers_of_post(route, token, own)
                    answer = await used.client.post(url, headers=headers, body=body)
                else:
                    answer = await used.client.get(url, headers=_header_map(self._all_headers(token, own)))
                status, received_headers = answer.status.as_int(), answer.headers
                if route in _FREQUENT:
                    content = bytes(await answer.bytes())
                else:
                    content = await received(answer, limit, place)
            finally:
                used.under_way -= 1
            answered = status == 200
        except Exception as error:  # noqa: BLE001  # A library's errors are many.
            failure = self._failure(error, place, lane)
            if failure.failure.kind in _NO_ANSWER:
                outage.failed(str(failure), asked_at)
            raise failure from None
        finally:
            if asked_at is not None and is_quick:
                outage.asked -= 1
            if pace is not None and asked_at is not None:
                pace.leave(route, asked_at, answered=answered)
                if not pace.waiting:
                    self.turns.hand_out()
            if room is not None:
                room.give_back(1)
        outage.answers += 1
        if outage.since is not None:
            outage.end()
        self._doubt = ""
        if len(content) > limit or "content-encoding" in received_headers:
            content = unpacked(content, header(received_headers, "content-encoding"), limit, place)
        return Response(status, content, received_headers, place)

    def _failure(self, error: Exception, place: str, lane: Lane) -> EngineError:
        """What an exception of the HTTP library means. Its own words may quote a header or a password."""
        if isinstance(error, EngineError):
            return error
        if (seconds := seconds_silent(error, lane.silence)) is not None:
            return timeout_error(f"no answer from {place} within {seconds:.0f} s{self._doubt}")
        return connection_error(f"cannot reach {place}: {reason(error)}{self._doubt}")

    def _open(self, lane: Lane) -> Connections:
        self._lanes[lane] = opened = Connections(self._root, self._proxy, self._trusted, lane.silence)
        return opened

    def short_requests_needed(self) -> int:
        """How many requests on the lane `SHORT` are open at once to keep the server busy."""
        return self._pace.needed

    def has_answered(self) -> bool:
        """Whether there has ever been an answer, of whatever kind."""
        return not self._doubt

    def renew(self, lane: Lane) -> None:
        """Start over with new connections: some proxies poison the ones that are open."""
        if connections := self._lanes.pop(lane, None):
            connections.close()

    def close(self) -> None:
        """Close all connections."""
        for lane in list(self._lanes):
            self.renew(lane)


def _descriptors() -> int:
    """How many this process may have open, or `_PLENTY`."""
    return min(descriptor_limit() or _PLENTY, _PLENTY)


def _rooms(descriptors: int) -> dict[Lane, Budget]:
    if descriptors >= _PLENTY:
        return {}
    return {lane: Budget(max(1, int(share * descriptors))) for lane, share in _SHARES.items()}


def _apart(base_url: str) -> tuple[str, dict[str, str]]:
    """`base_url` without `user:password@`, and the header that takes their place."""
    parts = urlsplit(without_final_dot(base_url))
    user_info, at, server = parts.netloc.rpartition("@")
    if not at:
        return parts.geturl(), {}
    basic = base64.b64encode(unquote(user_info).encode()).decode()
    return parts._replace(netloc=server).geturl(), {"authorization": f"Basic {basic}"}


def _header_map(headers: Mapping[str, str]) -> HeaderMap:
    """The library's, which leaves out what cannot be sent. Raises `EngineError` then, and quotes no value."""
    made = HeaderMap(dict(headers))
    for name in headers:
        if name not in made:
            message = f"the header {name!a} cannot be sent: its name must be a word, and its value one line"
            raise EngineError(Failure("TinkerError", message))
    return made
