"""A server for one test, in the test's own event loop, that holds each poll until the test answers it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

__all__ = ["Poll", "PollServer", "poll_server"]


class Poll:
    """One `retrieve_futures` that waits for its answer."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        self.reply: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

    async def is_abandoned(self) -> None:
        """Return once the client has closed the connection rather than wait for the answer, as it must."""
        await asyncio.wait([self.reply], timeout=20)
        assert self.reply.cancelled()

    @property
    def cursor(self) -> int:
        cursor: int = self.body["prev_cursor"]
        return cursor

    @property
    def acknowledged(self) -> list[str]:
        ids: list[str] = self.body["retrieved_request_ids"]
        return ids

    def tell(self, *request_ids: str, cursor: int = 1, state: str = "finished", size: int = 7) -> None:
        """Answer that these requests are done, each with a result of `size` bytes."""
        completions = [
            {"request_id": request_id, "state": state, "response_payload_uncompressed_size": size}
            for request_id in request_ids
        ]
        self.answer(200, {"completions": completions, "cursor": cursor})

    def answer(self, status: int, body: object = None) -> None:
        self.reply.set_result((status, b"" if body is None else json.dumps(body).encode()))


class PollServer:
    """Its address, and the polls that have come and are not looked at yet, in order."""

    def __init__(self, base_url: str, polls: asyncio.Queue[Poll]) -> None:
        self.base_url = base_url
        self._polls = polls

    async def poll(self) -> Poll:
        """The next poll, which must come."""
        return await asyncio.wait_for(self._polls.get(), 20)

    async def next_acknowledged(self) -> list[str]:
        """What the client says next that it has retrieved; polls that say nothing of it are told no news."""
        while not (poll := await self.poll()).acknowledged:
            poll.tell(cursor=poll.cursor)
        poll.tell(cursor=poll.cursor)
        return poll.acknowledged

    async def is_left_alone(self) -> None:
        """Return once there are no more polls, though all that come are told no news at once."""
        with contextlib.suppress(TimeoutError):
            while poll := await asyncio.wait_for(self._polls.get(), 0.5):
                poll.tell(cursor=poll.cursor)


@asynccontextmanager
async def poll_server() -> AsyncIterator[PollServer]:
    """A server that takes heartbeats, lets the test answer polls, and has no other routes."""
    polls: asyncio.Queue[Poll] = asyncio.Queue()
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                path, body = await _request(reader)
                status, answer = await _unless_left(_answer(path, body, polls), reader)
                head = f"HTTP/1.1 {status} .\r\ncontent-length: {len(answer)}\r\n\r\n"
                writer.write(head.encode() + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):  # The client has gone.
            pass
        finally:
            writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.create_task(serve(reader, writer)))

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        yield PollServer(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", polls)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _unless_left(
    answering: Coroutine[Any, Any, tuple[int, bytes]], reader: asyncio.StreamReader
) -> tuple[int, bytes]:
    """The answer; `ConnectionError` if the client leaves before it is there."""
    answer = asyncio.create_task(answering)
    # Nobody sends a second request before the first is answered.
    left = asyncio.create_task(reader.read(1))
    try:
        await asyncio.wait([answer, left], return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ConnectionError
        return answer.result()
    finally:
        for task in (answer, left):
            task.cancel()
        await asyncio.gather(answer, left, return_exceptions=True)


async def _request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """The path and body of the next request."""
    first, *headers = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    lengths = [line.partition(":")[2] for line in headers if line.lower().startswith("content-length:")]
    return first.split()[1], await reader.readexactly(int(lengths[0]))


async def _answer(path: str, body: bytes, polls: asyncio.Queue[Poll]) -> tuple[int, bytes]:
    route = path.removeprefix("/api/v1/")
    if route == "retrieve_futures":
        poll = Poll(json.loads(body))
        polls.put_nowait(poll)
        return await poll.reply
    return (200, b"{}") if route == "session_heartbeat" else (404, b'{"detail": "Not Found"}')
