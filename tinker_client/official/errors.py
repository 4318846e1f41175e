"""Our errors as the official SDK's, with the attributes that those have."""

from __future__ import annotations

import importlib
import json
from typing import Any

from tinker_client.errors import (
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    RequestFailedError,
    SidecarError,
    TinkerError,
)

__all__ = ["official_error"]


def official_error(tinker: Any, error: TinkerError, base_url: str) -> Exception:
    """The error of the package `tinker` that says what `error` does, which becomes its cause.

    It never raises: it runs where the results of everybody are delivered.
    """
    try:
        made = _made(tinker, error, base_url)
    except Exception:  # noqa: BLE001 - A version whose errors take something else.
        made = tinker.TinkerError(error.message)
    made.__cause__ = error
    return made


def _made(tinker: Any, error: TinkerError, base_url: str) -> Exception:
    httpx = importlib.import_module("httpx")  # The official SDK's library; its errors hold objects of it.
    made: Exception
    request = httpx.Request("POST", f"{base_url}/api/v1/asample")
    cls = _official_class(tinker, error)
    if isinstance(error, APIStatusError):
        made = cls(error.message, response=_response(httpx, request, error), body=error.body)
    elif isinstance(error, APIResponseValidationError):
        made = cls(response=_response(httpx, request, error), body=error.body, message=error.message)
    elif isinstance(error, APITimeoutError):
        made = cls(request=request)
    elif issubclass(cls, tinker.APIConnectionError):
        made = cls(request=request, message=error.message)
    elif isinstance(error, RequestFailedError):
        category = tinker.types.RequestErrorCategory(error.category.value)
        made = cls(error.message, request_id=error.request_id or "", category=category)
    else:
        made = cls(error.message)
    return made


def _official_class(tinker: Any, error: TinkerError) -> Any:
    """The class of that name or, where this version has none, that of its nearest parent.

    Versions without a sidecar of their own have no error for one that failed: for who catches it, what
    carries the requests is the connection.
    """
    for cls in type(error).__mro__:
        if cls is TinkerError and isinstance(error, SidecarError):
            return tinker.APIConnectionError
        if cls.__module__ == TinkerError.__module__ and hasattr(tinker, cls.__name__):
            return getattr(tinker, cls.__name__)
    return tinker.TinkerError


def _response(httpx: Any, request: Any, error: APIStatusError | APIResponseValidationError) -> Any:
    body = error.body
    content = body if isinstance(body, str) else json.dumps(body, default=repr)
    # Of a result that makes no sense the status is not kept, but it was one that came with a result.
    status = error.status_code or (200 if isinstance(error, APIResponseValidationError) else 500)
    return httpx.Response(status, request=request, content=b"" if body is None else content)
