"""A server's front door that remembers what came through it."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

__all__ = ["Call", "Recorder", "recording"]


class Call(NamedTuple):
    route: str
    headers: dict[str, str]
    body: Any


class Recorder:
    """The address to talk to, and every call that was made there, in order of arrival."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.calls: list[Call] = []

    def to(self, route: str) -> list[Call]:
        return [call for call in self.calls if call.route == route]


@contextmanager
def recording(server_url: str) -> Iterator[Recorder]:
    """A recorder in front of the server at `server_url`. At its end it drops all connections."""
    upstream = urlsplit(server_url)
    connections: list[HTTPConnection] = []
    is_over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._pass_on(None)

        def do_POST(self) -> None:
            self._pass_on(self.rfile.read(int(self.headers["content-length"])))

        def _pass_on(self, body: bytes | None) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            route = self.path.removeprefix("/api/v1/")
            recorder.calls.append(Call(route, headers, json.loads(body) if body else None))
            connection = HTTPConnection(upstream.hostname or "", upstream.port)
            try:
                connection.connect()
                connections.append(connection)
                if is_over.is_set():  # It has come too late to be dropped with the others.
                    self.close_connection = True
                else:
                    self._answer(connection, body, headers)
            except (OSError, HTTPException):  # Either side has gone away.
                self.close_connection = True
            finally:
                connection.close()

        def _answer(self, connection: HTTPConnection, body: bytes | None, headers: dict[str, str]) -> None:
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            self.send_header("content-type", answer.headers.get("content-type", ""))
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    recorder = Recorder(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield recorder
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        is_over.set()
        for connection in connections:
            with contextlib.suppress(OSError, AttributeError):  # It is closed already.
                connection.sock.shutdown(socket.SHUT_RDWR)
