"""A proxy as companies have them, which counts what passes."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

__all__ = ["ForwardProxy", "forward_proxy"]


class ForwardProxy(ThreadingHTTPServer):
    """Passes plain http on, to whoever brings `authorization` if that is set; refuses all tunnels."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.passed: list[str] = []
        self.authorization: str | None = None
        self.upstream: set[socket.socket] = set()

    def handle_error(self, *_: object) -> None:
        """The client has gone, or its server has."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: ForwardProxy
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.headers.get("proxy-authorization") != self.server.authorization:
            return self._answer(407, {}, b"who are you?")
        self.server.passed.append(self.path)
        target = urlsplit(self.path)
        connection = http.client.HTTPConnection(target.netloc)
        connection.connect()
        upstream = connection.sock
        self.server.upstream.add(upstream)
        try:
            connection.request(self.command, target.path, body, dict(self.headers))
            answer = connection.getresponse()
            return self._answer(answer.status, dict(answer.headers), answer.read())
        finally:
            self.server.upstream.discard(upstream)
            connection.close()

    do_GET = do_POST  # noqa: N815  # The library's names.

    def do_CONNECT(self) -> None:
        self._answer(403, {}, b"no tunnels here")

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name in ("content-type", "content-encoding"):
            if name in headers:
                self.send_header(name, headers[name])
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def forward_proxy() -> Iterator[ForwardProxy]:
    with ForwardProxy() as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            for connection in list(proxy.upstream):  # A poll would last a while.
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            thread.join()
