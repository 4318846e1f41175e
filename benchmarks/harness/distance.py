"""A server far away: a TCP proxy that passes everything on, some time later."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["distance"]

_PIECE = 1 << 16


class _Link:
    """Both ways of all connections to a port, each piece `delay` seconds late and in its order."""

    def __init__(self, port: int, delay: float) -> None:
        self._port = port
        self._delay = delay
        self._ends: set[asyncio.StreamWriter] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it."""
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        ends = {writer, far_writer}
        self._ends |= ends
        ways = [
            asyncio.create_task(self._carry(reader, far_writer)),
            asyncio.create_task(self._carry(far_reader, writer)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.close()
        await asyncio.gather(*ways, return_exceptions=True)
        self._ends -= ends

    def close(self) -> None:
        for end in self._ends:
            end.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                due, piece = await on_the_way.get()
                await asyncio.sleep(due - loop.time())
                if not piece:
                    return
                writer.write(piece)

        delivery = asyncio.create_task(deliver())
        piece = None
        while piece != b"":
            try:
                piece = await reader.read(_PIECE)
            except ConnectionError:
                piece = b""
            on_the_way.put_nowait((loop.time() + self._delay, piece))
        await delivery


@contextmanager
def distance(port: int, round_trip: float) -> Iterator[int]:
    """The port at which the server at `port` is `round_trip` seconds away, there and back."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    link = _Link(port, round_trip / 2)

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(link.connected, "127.0.0.1", 0, family=socket.AF_INET)

    async def end() -> None:
        server.close()
        link.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
