"""What can go wrong, as one tree.

    TinkerError
    ├── APIError                         message, body, request_id
    │   ├── APIConnectionError           (ConnectionError)  no answer from the server
    │   │   └── APITimeoutError          (TimeoutError)     none in time
    │   ├── APIResponseValidationError   (ValueError)       an answer that makes no sense
    │   └── APIStatusError               status_code
    │       ├── BadRequestError          400 (ValueError)
    │       ├── AuthenticationError      401
    │       ├── BillingError             402
    │       ├── PermissionDeniedError    403 (PermissionError)
    │       ├── NotFoundError            404 (LookupError)
    │       ├── ConflictError            409
    │       ├── UnprocessableEntityError 422 (ValueError)
    │       ├── RateLimitError           429
    │       └── InternalServerError      500 and above
    ├── RequestFailedError               message, request_id, category
    └── SidecarError
        ├── SidecarStartupError          (RuntimeError)     it never said it was ready
        ├── SidecarDiedError             (ConnectionError)  it exited with requests pending
        └── SidecarIPCError              (ConnectionError)  it lives, but the socket to it failed

A class in brackets is the standard one that ours also is, so that `except TimeoutError` works.
Every error copies and pickles, attributes and notes included; so do subclasses of them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinker_sidecar.ipc.protocol import Failure

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIResponseValidationError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "BillingError",
    "ConflictError",
    "InternalServerError",
    "NotFoundError",
    "PermissionDeniedError",
    "RateLimitError",
    "RequestErrorCategory",
    "RequestFailedError",
    "SidecarDiedError",
    "SidecarError",
    "SidecarIPCError",
    "SidecarStartupError",
    "TinkerError",
    "UnprocessableEntityError",
    "from_failure",
]


class RequestErrorCategory(StrEnum):
    """Whose fault a failed request is, in the server's view."""

    Unknown = "unknown"
    """The server does not say, or says it with a word that this version does not know."""
    Server = "server"
    """The server's: the same request may work at another time."""
    User = "user"
    """The request's: it would fail again."""


class TinkerError(Exception):
    """Base of every error this package raises on its own account.

    Attributes
    ----------
    message
        What went wrong; the same as `str(error)`.
    """

    message: str

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls the class with `args`, which fails for any signature but `(message)`.
        return _restore, (type(self), self.args), self.__dict__


def _restore(cls: type[TinkerError], args: tuple[Any, ...]) -> TinkerError:
    error = cls.__new__(cls, *args)
    # `OSError.__new__` leaves `args` to `__init__` in classes that have an `__init__` of their own.
    error.args = args
    return error


class APIError(TinkerError):
    """A request to the Tinker API did not work out.

    Attributes
    ----------
    message
        What went wrong.
    body
        What the server answered: decoded JSON, or text when it was not JSON, or None.
    request_id
        The server's name for the request, where it had given one.
    """

    body: Any
    request_id: str | None

    def __init__(self, message: str, body: Any = None, *, request_id: str | None = None) -> None:
        super().__init__(message)
        self.body = body
        self.request_id = request_id


class APIConnectionError(APIError, ConnectionError):
    """The server could not be reached, or the connection broke before it answered."""

    def __init__(
        self, message: str = "Connection error.", body: Any = None, *, request_id: str | None = None
    ) -> None:
        super().__init__(message, body, request_id=request_id)


class APITimeoutError(APIConnectionError, TimeoutError):
    """The server did not answer in time."""

    def __init__(
        self, message: str = "Request timed out.", body: Any = None, *, request_id: str | None = None
    ) -> None:
        super().__init__(message, body, request_id=request_id)


class APIResponseValidationError(APIError, ValueError):
    """An answer lacks a field, or a field holds what it must not.

    Attributes
    ----------
    status_code
        The HTTP status the answer came with, or None.
    """

    status_code: int | None

    def __init__(
        self,
        message: str = "Data returned by API invalid for expected schema.",
        body: Any = None,
        *,
        status_code: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, body, request_id=request_id)
        self.status_code = status_code


class APIStatusError(APIError):
    """The server answered with an HTTP status of 4xx or 5xx.

    Attributes
    ----------
    status_code
        That status; 0 where it is not known.
    """

    status_code: int = 0

    def __init__(
        self,
        message: str,
        body: Any = None,
        *,
        status_code: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, body, request_id=request_id)
        if status_code is not None:
            self.status_code = status_code


class BadRequestError(APIStatusError, ValueError):
    """HTTP 400: the server can make nothing of the request."""

    status_code = 400


class AuthenticationError(APIStatusError):
    """HTTP 401, or no usable credential to send: the API key is missing or wrong."""

    status_code = 401


class BillingError(APIStatusError):
    """HTTP 402: the account cannot pay for the request."""

    status_code = 402


class PermissionDeniedError(APIStatusError, PermissionError):
    """HTTP 403: the key is good, but not for this."""

    status_code = 403


class NotFoundError(APIStatusError, LookupError):
    """HTTP 404: no such model, session or request."""

    status_code = 404


class ConflictError(APIStatusError):
    """HTTP 409: the request does not fit the state of what it is about."""

    status_code = 409


class UnprocessableEntityError(APIStatusError, ValueError):
    """HTTP 422: the request is well formed, but a value in it is not allowed."""

    status_code = 422


class RateLimitError(APIStatusError):
    """HTTP 429: too many requests at once, and backing off did not help."""

    status_code = 429


class InternalServerError(APIStatusError):
    """HTTP 500 or above: the server is in trouble."""

    status_code = 500


class RequestFailedError(TinkerError):
    """The server took the request, worked on it, and reports that it failed.

    Attributes
    ----------
    message
        The server's reason.
    request_id
        The server's name for the request, where it had given one.
    category
        Whose fault it is, as far as the server can tell.
    """

    request_id: str | None
    category: RequestErrorCategory

    def __init__(
        self,
        message: str,
        request_id: str | None = None,
        category: RequestErrorCategory | str = RequestErrorCategory.Unknown,
    ) -> None:
        super().__init__(message)
        self.request_id = request_id
        self.category = _category(category)


def _category(name: str) -> RequestErrorCategory:
    try:
        return RequestErrorCategory(name)
    except ValueError:
        # A newer server may know more of them, and the failure matters more than its label.
        return RequestErrorCategory.Unknown


class SidecarError(TinkerError):
    """The sidecar process failed, not the server. Also: `shutdown` or a fork came before the answer."""


class SidecarStartupError(SidecarError, RuntimeError):
    """The sidecar, or a local server, was not ready in time or at all. The message has its last words."""


class SidecarDiedError(SidecarError, ConnectionError):
    """The sidecar exited with requests pending, and so did those that replaced it: too many in a minute."""


class SidecarIPCError(SidecarError, ConnectionError):
    """The sidecar is alive, but talking to it failed."""


def _tree(root: type[TinkerError]) -> dict[str, type[TinkerError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


# Made once, here: a subclass from user code must not become a kind.
_TREE = _tree(TinkerError)


def from_failure(failure: Failure) -> TinkerError:
    """The exception that a `Failure` from the engine stands for.

    A kind that names no class of this tree becomes a `TinkerError` with the same text.
    """
    cls = _TREE.get(failure.kind, TinkerError)
    if issubclass(cls, RequestFailedError):
        return cls(failure.message, failure.request_id, failure.category or RequestErrorCategory.Unknown)
    if issubclass(cls, APIStatusError | APIResponseValidationError):
        return cls(
            failure.message, failure.body, status_code=failure.status_code, request_id=failure.request_id
        )
    if issubclass(cls, APIError):
        return cls(failure.message, failure.body, request_id=failure.request_id)
    return cls(failure.message)
