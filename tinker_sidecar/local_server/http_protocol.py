"""uvicorn's HTTP protocol, with a response's head and body leaving in one piece, and with resets.

uvicorn writes them one after the other and uvloop sends each at once: two system calls, and two
times the client wakes up. On loopback that is half of what a small response costs.

ASGI has no way to break a connection, which servers and proxies do: here it is an extension.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio
    from typing import Any

__all__ = ["RESET", "JoiningProtocol"]

RESET = "tinker_sidecar.reset"
"""The entry of `scope["extensions"]` that resets the connection when called."""

_NO_LINGER = struct.pack("ii", 1, 0)
"""Closing a socket with this set sends a reset."""


class JoiningProtocol(HttpToolsProtocol):
    """What uvicorn makes of each connection."""

    # asyncio's types promise any kind of transport here, and uvicorn's the one of a stream.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        joined = _JoinedWrites(transport, self.loop)
        self._extensions: dict[str, Any] = {RESET: joined.reset}
        super().connection_made(cast("asyncio.Transport", joined))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = self._extensions


class _JoinedWrites:
    """A transport that sends what was written in one iteration of the event loop together."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._unsent: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append(data)

    def close(self) -> None:
        self._send()
        self._transport.close()

    def reset(self) -> None:
        self._unsent.clear()
        self.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()

    def _send(self) -> None:
        if self._unsent:
            self._transport.write(b"".join(self._unsent))
            self._unsent.clear()
