"""The layer that records what an application is asked for and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinker_sidecar.local_server.paths import route_name
from tinker_sidecar.recording.exchanges import RECORDED_ROUTES, Exchange, Exchanges
from tinker_sidecar.recording.record_writer import RecordWriter

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from pathlib import Path

    from tinker_sidecar.local_server.app import Message, Receive, Send
    from tinker_sidecar.local_server.request_log import Asgi

__all__ = ["RecordingLayer"]


class RecordingLayer:
    """Adds what it sees to the recording in `folder`, which may grow to `max_bytes`."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._writer = RecordWriter(folder, max_bytes)
        self._exchanges = Exchanges(self._writer)

    def around(self, app: Asgi) -> Asgi:
        """`app`, with its results recorded."""

        async def record(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
            route = route_name(scope["path"])
            if route not in RECORDED_ROUTES:
                return await app(scope, receive, send)
            body, answer = bytearray(), bytearray()
            status, headers = 0, dict[bytes, bytes]()

            async def listen() -> Message:
                message = await receive()
                body.extend(message.get("body", b""))
                return message

            async def answer_and_note(message: Message) -> None:
                nonlocal status, headers
                if message["type"] == "http.response.start":
                    status, headers = message["status"], dict(message["headers"])
                answer.extend(message.get("body", b""))
                await send(message)

            await app(scope, listen, answer_and_note)
            if status == 200:
                kind = headers.get(b"content-type", b"").decode("latin-1")
                encoding = headers.get(b"content-encoding", b"").decode("latin-1")
                self._exchanges.note(Exchange(route, bytes(body), bytes(answer), kind, encoding))
            return None

        return record

    def close(self) -> None:
        """Write what is there still."""
        self._writer.close()
