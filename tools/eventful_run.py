"""Two minutes of sampling in which everything goes wrong once, for pictures of what shows it.

First all is well. Then the program asks for more at once than the server has room for, which refuses some
with 429. Then a regex holds the GIL, and at last the server cannot be reached for a while. Nothing of it is
made up:

    export TINKER_SUBPROCESS_SAMPLING=1 TINKER_SIDECAR_METRICS=9464 TINKER_SIDECAR_TRACE=run.json
    python -m tools.eventful_run        # or "0.25" behind it, for a quarter of the time
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing, suppress

from tinker_client import RequestFailedError, SamplingClient, ServiceClient, types
from tinker_client.local_server import start_local_server

_ROOM = 48
"""How many requests the server takes at once."""
_UNWANTED = 7
"""A token that the server fails on, so that some requests fail."""
_OPTIONS = ("--latency=0.6", "--jitter=0.5", f"--slots={_ROOM}", f"--fail-token={_UNWANTED}")
_PARAMS = types.SamplingParams(max_tokens=64)


def main(pace: float) -> None:
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    with ExitStack() as stack:
        server = stack.enter_context(closing(start_local_server("sim", *_OPTIONS)))
        door = Door(server.base_url)
        stack.callback(door.close)
        door.open()
        service_client = ServiceClient(base_url=door.base_url, api_key="tml-any")
        client = service_client.create_sampling_client(base_model="tinker-sidecar/sim")
        asyncio.run(_go_through_all(client, door, pace))


async def _go_through_all(client: SamplingClient, door: Door, pace: float) -> None:
    await _sample(client, at_once=32, seconds=30 * pace)
    await _sample(client, at_once=3 * _ROOM, seconds=30 * pace)
    sampling = asyncio.create_task(_sample(client, at_once=32, seconds=60 * pace))
    await asyncio.sleep(10 * pace)
    grade(12 * pace)
    await asyncio.sleep(8 * pace)
    door.close()
    await asyncio.sleep(12 * pace)
    door.open()
    await sampling


async def _sample(client: SamplingClient, *, at_once: int, seconds: float) -> None:
    """Keep so many requests in flight for so long."""
    end = time.monotonic() + seconds

    async def one_after_the_other(prompt: types.ModelInput) -> None:
        while time.monotonic() < end:
            with suppress(RequestFailedError):
                await client.sample(prompt, 1, _PARAMS)

    await asyncio.gather(
        *(one_after_the_other(types.ModelInput.from_ints([n] * 128)) for n in range(at_once))
    )


def grade(seconds: float) -> None:
    """Hold the GIL for about so long, by calls of `re` that get twice as long with each letter."""
    letters, took = 20, 0.0
    while took < seconds / 3:
        begin = time.monotonic()
        re.match(r"(a+)+$", "a" * letters + "b")
        took = time.monotonic() - begin
        letters += 1


class Door:
    """The way to a server, by a process of its own. While it is closed, connections are refused."""

    def __init__(self, base_url: str) -> None:
        self._server = base_url.rpartition(":")[2].strip("/")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = str(free.getsockname()[1])
        self.base_url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[str] | None = None

    def open(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tools.eventful_run", self._port, self._server],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def close(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate()


async def _pass_on(port: int, server: int) -> None:
    """What `Door` runs."""

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while received := await source.read(1 << 16):
            target.write(received)
            await target.drain()
        target.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", server)
        await asyncio.gather(copy(reader, server_writer), copy(server_reader, writer), return_exceptions=True)

    async with await asyncio.start_server(connected, "127.0.0.1", port) as listening:
        print("open", flush=True)
        await listening.serve_forever()


if __name__ == "__main__":
    if len(sys.argv) == 3:
        asyncio.run(_pass_on(int(sys.argv[1]), int(sys.argv[2])))
    else:
        main(float(sys.argv[1]) if len(sys.argv) == 2 else 1.0)
