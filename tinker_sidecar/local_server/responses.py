"""What a handler gives back, or raises, instead of ASGI messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["JSON", "PROTOBUF", "HttpAnswer", "HttpError", "RequestHead", "header", "json_response"]

JSON = b"application/json"
PROTOBUF = b"application/x-protobuf"

Headers = list[tuple[bytes, bytes]]

_encode = msgspec.json.Encoder().encode


class RequestHead(msgspec.Struct):
    """The parts of an HTTP request that are not its body. Header names are lower case."""

    headers: Headers
    path_tail: str
    """What follows the route's own path, as in `samplers/{id}`."""
    gone: Callable[[], Coroutine[Any, Any, Any]]
    """Returns when the client has closed the connection; or the request is answered."""


class HttpAnswer(msgspec.Struct):
    """A whole answer: its body, and what its head says."""

    body: bytes
    status: int = 200
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


class HttpError(Exception):
    """Ends a request with `status` and `{"detail": detail}`."""

    def __init__(self, status: int, detail: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers

    def response(self) -> HttpAnswer:
        """The answer that the request ends with."""
        return json_response({"detail": str(self)}, self.status, self.headers)


def json_response(value: Any, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()) -> HttpAnswer:
    """An answer of `value` as JSON."""
    return HttpAnswer(_encode(value), status, JSON, headers)


def header(headers: Headers, name: bytes) -> bytes | None:
    """The first header called `name` (lower case)."""
    for key, value in headers:
        if key == name:
            return value
    return None
