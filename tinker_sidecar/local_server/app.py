"""The ASGI application: reads a request, lets it past the gate, decodes its body, runs its route."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from tinker_sidecar.local_server.responses import HttpAnswer, HttpError, RequestHead

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, MutableMapping

    from tinker_sidecar.local_server.auth import Gate

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Coroutine[Any, Any, Message]]
    Send = Callable[[Message], Awaitable[None]]
    Handler = Callable[[Any, RequestHead], Awaitable[HttpAnswer]]

__all__ = ["App", "Endpoint", "get", "post"]

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Which method a path takes, and who handles it."""

    method: str
    handler: Handler
    decode: Callable[[bytes], Any] | None = None
    """Makes the handler's first argument from the body; None: there is no body to read."""
    open: bool = False
    """Whether it needs no API key."""


def get(handler: Handler, *, open: bool = False) -> Endpoint:  # noqa: A002
    """A route that reads no body."""
    return Endpoint("GET", handler, None, open)


def post(handler: Handler, body: type[msgspec.Struct]) -> Endpoint:
    """A route whose body is decoded into `body`."""
    return Endpoint("POST", handler, msgspec.json.Decoder(body).decode)


class App:
    """Routes by exact path; a route whose path ends in a slash takes what follows as `path_tail`."""

    def __init__(self, routes: dict[str, Endpoint], gate: Gate) -> None:
        self._routes = routes
        self._gate = gate

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        response = await self._respond(scope, receive)
        await send(
            {
                "type": "http.response.start",
                "status": response.status,
                "headers": [
                    (b"content-type", response.content_type),
                    (b"content-length", b"%d" % len(response.body)),
                    *response.headers,
                ],
            }
        )
        await send({"type": "http.response.body", "body": response.body})

    async def _respond(self, scope: MutableMapping[str, Any], receive: Receive) -> HttpAnswer:
        try:
            return await self._run(scope, receive)
        except HttpError as error:
            return error.response()
        except msgspec.DecodeError as error:
            return HttpError(422, str(error)).response()
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            return HttpError(500, "the server failed; its log says how").response()

    async def _run(self, scope: MutableMapping[str, Any], receive: Receive) -> HttpAnswer:
        route, path_tail = self._match(scope["method"], scope["path"])
        headers = scope["headers"]
        self._gate.check_host(headers)
        if not route.open:
            self._gate.check(headers)
        body = None if route.decode is None else route.decode(await _read(receive))
        return await route.handler(body, RequestHead(headers, path_tail, receive))

    def _match(self, method: str, path: str) -> tuple[Endpoint, str]:
        tail = ""
        route = self._routes.get(path)
        if route is None:
            folder, _, tail = path.rpartition("/")
            route = self._routes.get(folder + "/") if tail else None
        if route is None:
            raise HttpError(404, "Not Found")
        if route.method != method:
            raise HttpError(405, "Method Not Allowed", ((b"allow", route.method.encode()),))
        return route, tail


async def _read(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body
    parts = [body]
    size = len(body)
    while message.get("more_body"):
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            raise HttpError(413, f"the body is larger than {MAX_BODY_BYTES >> 20} MiB")
    return b"".join(parts)
