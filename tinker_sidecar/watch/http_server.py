"""A small HTTP server for a page that is asked for now and then, beside an engine that must not be held up.

It has no thread that waits for connections: whoever owns it calls `handle_request` when there is one, which
never blocks. What is asked is answered on a thread, of which there are few, so nobody can take up many.
"""

from __future__ import annotations

import io
import ipaddress
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from typing import Any, TextIO
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

__all__ = ["SmallServer", "listen"]

_MOST_AT_ONCE = 8
_PATIENCE = 10.0
"""Seconds without a byte after which a connection is given up."""

_App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def listen(host: str, port: int) -> SmallServer:
    """A server there. Raises `OSError` if it may not be, or if somebody else is."""
    return (_SmallServer6 if ":" in host else SmallServer)((host, port), _Handler)


class SmallServer(socketserver.ThreadingMixIn, WSGIServer):
    """One WSGI application over HTTP; made by `listen`."""

    daemon_threads = True
    timeout = 0  # `handle_request` does not wait.
    request_queue_size = 64
    allow_reuse_port = False  # Else two processes could have one port, and share what comes in.

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self._free = threading.BoundedSemaphore(_MOST_AT_ONCE)
        super().__init__(address, handler)
        self.socket.setblocking(False)  # Whoever wanted to connect may be gone when it is accepted.

    def server_bind(self) -> None:
        """Without asking a name server for the host's name, as the library does: that may take long."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]  # Typed for IPv4 and bytes.
        self.setup_environ()

    def set_app(self, application: _App | None) -> None:
        """Have `application` answer; on loopback only those who ask for this machine by a name of its own."""
        host = str(self.server_address[0])
        guarded = application is not None and _is_loopback(host)
        super().set_app(_ForThisMachine(application) if guarded and application else application)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer on a thread, or hang up if too many are at it."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # There is no room for a thread.
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, on that thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: whoever asked has gone. The library would print a traceback to the program's stderr."""


class _SmallServer6(SmallServer):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = _PATIENCE

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # So the library calls it.
        """Nothing: it would print a line to stderr for each request."""

    def get_stderr(self) -> TextIO:
        """For the traceback of somebody who did not read: nowhere."""
        return io.StringIO()


class _ForThisMachine:
    """Refuses those who ask for a host that is not this machine.

    A page in a browser on this machine can have its own host's name point here, and would read the answer.
    """

    def __init__(self, app: _App) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not _is_loopback(_asked_host(environ)):
            start_response("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")])
            return [b"This is for this machine alone: ask for localhost.\n"]
        return self._app(environ, start_response)


def _asked_host(environ: dict[str, Any]) -> str:
    try:
        return urlsplit("//" + environ.get("HTTP_HOST", "localhost")).hostname or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
