"""Every API request as the server saw it: when it came, what it was answered, how many there were at once.

Tests of a client's manners read it at `GET /local/requests`: only the server can tell whether the client
paused when it was asked to.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from tinker_sidecar.local_server.paths import ROUTES, route_name
from tinker_sidecar.local_server.responses import header

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from tinker_sidecar.local_server.app import Message, Receive, Send

    Asgi = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

__all__ = ["RequestLog"]

_REQUESTS = 100_000
_NAMES = frozenset(ROUTES)


class _Route:
    """What goes on at one route, and the most there ever was of it at once."""

    __slots__ = ("bytes", "most_bytes", "most_requests", "name", "requests")

    def __init__(self, name: str) -> None:
        self.name = name
        self.requests = self.most_requests = self.bytes = self.most_bytes = 0

    def enter(self, size: int) -> None:
        self.requests += 1
        self.bytes += size
        if self.requests > self.most_requests:
            self.most_requests = self.requests
        if self.bytes > self.most_bytes:
            self.most_bytes = self.bytes

    def leave(self, size: int) -> None:
        self.requests -= 1
        self.bytes -= size


class RequestLog:
    """The last 100,000 requests; `recorded` is the layer that writes it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._routes: dict[str, _Route] = {}
        self._requests: deque[tuple[str, float, float, int | None]] = deque(maxlen=_REQUESTS)

    def recorded(self, app: Asgi) -> Asgi:
        """`app`, with each of its API requests noted."""

        async def record(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
            route = self._open_route(scope["path"])
            if route is None:
                return await app(scope, receive, send)
            status: int | None = None

            async def note_status(message: Message) -> None:
                nonlocal status
                status = message.get("status", status)
                await send(message)

            size = int(header(scope["headers"], b"content-length") or 0)
            came = self._clock()
            route.enter(size)
            try:
                await app(scope, receive, note_status)
            finally:
                route.leave(size)
                self._requests.append((route.name, came, self._clock(), status))
            return None

        return record

    def snapshot(self) -> dict[str, object]:
        """Times are seconds on the server's monotonic clock; a status of None: there was no answer."""
        return {
            "now": self._clock(),
            "requests": [
                {"route": route, "came": came, "answered": answered, "status": status}
                for route, came, answered, status in self._requests
            ],
            "at_once": {route.name: route.requests for route in self._routes.values()},
            "most_at_once": {route.name: route.most_requests for route in self._routes.values()},
            "most_bytes_at_once": {route.name: route.most_bytes for route in self._routes.values()},
        }

    def _open_route(self, path: str) -> _Route | None:
        """What is kept of the route that `path` leads to, from its first request on; None outside the API."""
        name = route_name(path)
        # A path that leads nowhere must not grow the log.
        if name is None or name not in _NAMES:
            return None
        route = self._routes.get(name)
        if route is None:
            route = self._routes[name] = _Route(name)
        return route
