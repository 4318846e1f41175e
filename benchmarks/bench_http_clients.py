"""Which HTTP client should the engine use? Two of them under uvloop, doing what a sample does.

Each sample is an `asample` and a long-polled `retrieve_future` over HTTP/1.1 against the `sim` server, with
512 prompt tokens and 128 tokens back. Peers take turns, run after run; a row gives the medians.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from itertools import count

from rich.console import Console
from rich.table import Table

from tinker_client.local_server import start_local_server

PEERS = ("pyqwest", "aiohttp")
PROMPT = list(range(512))

Post = Callable[[str, bytes], Awaitable[bytes]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke of a few seconds")
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--in-flight", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--samples", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        import uvloop

        uvloop.run(measure(arguments.peer, arguments.url, arguments.in_flight, arguments.samples))
    else:
        compare(quick=arguments.quick)


def compare(*, quick: bool) -> None:
    loads = (64,) if quick else (8, 512, 2000)
    repeats = 1 if quick else 5
    table = Table(title=f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.machine()}")
    for column in ("in flight", "client", "samples/s", "client CPU a sample", "peak memory"):
        table.add_column(column, justify="right")
    flags = ("--latency", "0.05", "--client-config", "sample_use_retrieve_futures=false")
    with closing(start_local_server("sim", *flags)) as server:
        for in_flight in loads:
            runs: dict[str, list[dict[str, float]]] = {peer: [] for peer in PEERS}
            for _ in range(repeats):
                for peer in PEERS:
                    runs[peer].append(
                        run(peer, server.base_url, in_flight, 500 if quick else 4 * in_flight + 1000)
                    )
            for peer in PEERS:
                rate, cpu, memory = (
                    statistics.median(run[figure] for run in runs[peer])
                    for figure in ("rate", "cpu", "memory")
                )
                table.add_row(str(in_flight), peer, f"{rate:,.0f}", f"{cpu:,.0f} µs", f"{memory:,.0f} MB")
    Console().print(table)


def run(peer: str, url: str, in_flight: int, samples: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--peer", peer, "--url", url]
    command += ["--in-flight", str(in_flight), "--samples", str(samples)]
    figures: dict[str, float] = json.loads(subprocess.check_output(command))
    return figures


async def measure(peer: str, url: str, in_flight: int, samples: int) -> None:
    post = await (open_pyqwest if peer == "pyqwest" else open_aiohttp)(url + "/api/v1/")

    async def call(route: str, **body: object) -> dict[str, str]:
        answer: dict[str, str] = json.loads(await post(route, json.dumps(body).encode()))
        return answer

    session = await call("create_session", tags=[], user_metadata={}, sdk_version="0", type="create_session")
    sampler = await call(
        "create_sampling_session",
        session_id=session["session_id"],
        sampling_session_seq_id=0,
        base_model="tinker-sidecar/sim",
        type="create_sampling_session",
    )
    numbers = count()
    template = {
        "sampling_session_id": sampler["sampling_session_id"],
        "num_samples": 1,
        "prompt": {"chunks": [{"type": "encoded_text", "tokens": PROMPT}]},
        "sampling_params": {"max_tokens": 128},
        "type": "sample",
    }

    async def sample_until(last: int) -> None:
        while (number := next(numbers)) < last:
            # The same encoding for both peers: only the client differs.
            promise = json.loads(await post("asample", json.dumps(template | {"seq_id": number}).encode()))
            await post("retrieve_future", json.dumps({"request_id": promise["request_id"]}).encode())

    await sample_until(20)
    cpu, started = time.process_time(), time.perf_counter()
    await asyncio.gather(*(sample_until(samples) for _ in range(in_flight)))
    took, cpu = time.perf_counter() - started, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rate": samples / took, "cpu": cpu / samples * 1e6, "memory": memory}), flush=True)
    os._exit(0)  # Closing thousands of connections is not what is measured.


async def open_pyqwest(root: str) -> Post:
    import pyqwest

    client = pyqwest.Client(pyqwest.HTTPTransport(pool_max_idle_per_host=4096, enable_otel=False))

    async def post(route: str, body: bytes) -> bytes:
        answer = await client.post(root + route, {"content-type": "application/json"}, body)
        assert answer.status == 200, answer.content
        return answer.content

    return post


async def open_aiohttp(root: str) -> Post:
    import aiohttp

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def post(route: str, body: bytes) -> bytes:
        async with session.post(
            root + route, data=body, headers={"content-type": "application/json"}
        ) as answer:
            assert answer.status == 200
            return await answer.read()

    return post


if __name__ == "__main__":
    main()
