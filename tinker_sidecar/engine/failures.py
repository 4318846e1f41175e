"""Failures inside the engine, before they become exceptions in the caller's process."""

from __future__ import annotations

import textwrap
from typing import Any

import msgspec

from tinker_sidecar.engine.retry_after import seconds_to_wait
from tinker_sidecar.ipc.protocol import Failure

__all__ = [
    "IS_BASE_URL_RIGHT",
    "EngineError",
    "connection_error",
    "invalid_response",
    "status_error",
    "timeout_error",
]

_KIND_BY_STATUS = {
    400: "BadRequestError",
    401: "AuthenticationError",
    402: "BillingError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    409: "ConflictError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
}

IS_BASE_URL_RIGHT = " (is base_url right?)"
"""What to ask whose server has never been of any use."""

_MESSAGE_LIMIT = 2000
"""Characters of a server's answer that go into a message."""

_PAGE_LIMIT = 300


class EngineError(Exception):
    """Carries a `Failure` up to whoever answers the caller.

    `retry_after`: seconds after which the server wants to be asked again, if it said so.
    """

    def __init__(self, failure: Failure, retry_after: float | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.retry_after = retry_after

    def adding(self, words: str) -> EngineError:
        """The same with more to say."""
        failure = msgspec.structs.replace(self.failure, message=self.failure.message + words)
        return EngineError(failure, self.retry_after)

    @property
    def status(self) -> int | None:
        """The HTTP status, if the server answered."""
        return self.failure.status_code


def connection_error(message: str) -> EngineError:
    """Nothing came back from the server."""
    return EngineError(Failure("APIConnectionError", message))


def timeout_error(message: str) -> EngineError:
    """Nothing came back in time."""
    return EngineError(Failure("APITimeoutError", message))


def invalid_response(message: str, content: bytes = b"") -> EngineError:
    """An answer came that makes no sense: `content`."""
    return EngineError(
        Failure("APIResponseValidationError", message, status_code=200, body=_body(content[:_MESSAGE_LIMIT]))
    )


def status_error(status: int, content: bytes, place: str, retry_after: str = "") -> EngineError:
    """The error for an HTTP `status` from `place`, with what the server said about it.

    `retry_after` is the header of that name.
    """
    kind = _KIND_BY_STATUS.get(status) or ("InternalServerError" if status >= 500 else "APIStatusError")
    body = _body(content)
    said = _detail(body)
    message = f"HTTP {status} from {place}" + (f": {said}" if said else "")
    failure = Failure(kind, message, status_code=status, body=body)
    return EngineError(failure, seconds_to_wait(retry_after, place))


def _body(content: bytes) -> Any:
    """The decoded JSON of an error response, or its text."""
    if not content:
        return None
    try:
        body = msgspec.json.decode(content)
        msgspec.msgpack.encode(body)  # JSON may nest deeper, and count further, than can be passed on.
        return body
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
        return content[:_MESSAGE_LIMIT].decode("utf-8", "replace")


def _detail(body: object) -> str:
    if isinstance(body, str):
        # It is no JSON but, say, a web server's page: one line of its beginning will do.
        return textwrap.shorten(body, _PAGE_LIMIT, placeholder=" …")
    if isinstance(body, dict):
        for key in ("detail", "message", "error"):
            if said := body.get(key):
                body = said
                break
    if isinstance(body, str):
        return body[:_MESSAGE_LIMIT]
    return msgspec.json.encode(body).decode()[:_MESSAGE_LIMIT] if body else ""
