"""Which HTTP client should the engine use? Several of them under uvloop, doing what a sample does.

Each sample is an `asample` and a `retrieve_future` against the `sim` server, with 512 prompt tokens and 128
tokens back: over HTTP/1.1, or over TLS and HTTP/2 through nginx (aiohttp has no HTTP/2). Graders are threads
of the same process that hold the GIL. Peers take turns, run after run; a row gives the medians.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path
from typing import NamedTuple

import psutil
from harness.tls_proxy import HOW_TO_INSTALL, is_installed, tls_proxy
from rich.console import Console
from rich.table import Table

from tinker_client.local_server import start_local_server

PROMPT = list(range(512))
HEADERS = {"content-type": "application/json"}

Post = Callable[[str, bytes], Awaitable[bytes]]


class Load(NamedTuple):
    tls: bool
    graders: int
    in_flight: int
    samples: int


SMOKE = (Load(tls=False, graders=0, in_flight=32, samples=500),)
LOADS = (
    Load(tls=False, graders=0, in_flight=8, samples=1000),
    Load(tls=False, graders=0, in_flight=32, samples=5000),
    Load(tls=False, graders=0, in_flight=512, samples=10_000),
    # nginx ends a connection after 5,000 requests, which is not what is measured here.
    Load(tls=True, graders=0, in_flight=32, samples=2000),
    Load(tls=True, graders=0, in_flight=100, samples=2000),
    Load(tls=False, graders=1, in_flight=32, samples=400),
    Load(tls=False, graders=4, in_flight=32, samples=100),
    Load(tls=True, graders=4, in_flight=32, samples=100),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke of a few seconds")
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--load", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        import uvloop

        uvloop.run(measure(arguments.peer, arguments.url, Load(*json.loads(arguments.load))))
    else:
        compare(quick=arguments.quick)


def compare(*, quick: bool) -> None:
    console = Console()
    peers = [peer for peer in PEERS if importlib.util.find_spec(peer)]
    if missing := PEERS.keys() - peers:
        console.print(f"left out, since they are not installed: {', '.join(sorted(missing))}")
    table = Table(title=f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.machine()}")
    for column in (
        "",
        "graders",
        "in flight",
        "client",
        "samples/s",
        "CPU a sample",
        "threads",
        "peak memory",
    ):
        table.add_column(column, justify="right")
    flags = ("--latency", "0", "--client-config", "sample_use_retrieve_futures=false")
    with ExitStack() as stack:
        server = stack.enter_context(closing(start_local_server("sim", *flags)))
        ways = {False: (server.base_url, dict[str, str]())}
        if is_installed():
            proxy = stack.enter_context(tls_proxy(server.base_url))
            ways[True] = proxy.base_url, {"SSL_CERT_FILE": str(proxy.authority)}
        elif not quick:
            console.print(f"TLS: left out, since nginx is not installed ({HOW_TO_INSTALL})")
        for load in SMOKE if quick else LOADS:
            if load.tls not in ways:
                continue
            runs: dict[str, list[dict[str, float]]] = {peer: [] for peer in peers}
            for _ in range(1 if quick else 3):
                for peer in peers:
                    runs[peer].append(run(peer, *ways[load.tls], load))
            for peer in peers:
                rate, cpu, threads, memory = (
                    statistics.median(run[figure] for run in runs[peer])
                    for figure in ("rate", "cpu", "threads", "memory")
                )
                table.add_row(
                    "TLS" if load.tls else "HTTP/1.1",
                    str(load.graders),
                    str(load.in_flight),
                    peer,
                    f"{rate:,.0f}",
                    "" if load.graders else f"{cpu:,.0f} µs",  # They would count, too.
                    f"{threads:,.0f}",
                    f"{memory:,.0f} MB",
                )
            table.add_section()
    console.print(table)


def run(peer: str, url: str, variables: dict[str, str], load: Load) -> dict[str, float]:
    command = [sys.executable, __file__, "--peer", peer, "--url", url, "--load", json.dumps(load)]
    environment = {"TOKIO_WORKER_THREADS": "1"} | os.environ | variables
    figures: dict[str, float] = json.loads(subprocess.check_output(command, env=environment))
    return figures


async def measure(peer: str, url: str, load: Load) -> None:
    post = await PEERS[peer](url + "/api/v1/")

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
    # The same encoding for all peers, once: only the clients differ.
    body = json.dumps(template).encode()[:-1]

    async def sample_until(last: int) -> None:
        while (number := next(numbers)) < last:
            promise = json.loads(await post("asample", body + b', "seq_id": %d}' % number))
            await post("retrieve_future", json.dumps({"request_id": promise["request_id"]}).encode())

    async def burst(samples: int) -> None:
        last = next(numbers) + samples
        await asyncio.gather(*(sample_until(last) for _ in range(load.in_flight)))

    await burst(load.in_flight)  # Opens the connections.
    for _ in range(load.graders):
        threading.Thread(target=grade, daemon=True).start()
    cpu, started = time.process_time(), time.perf_counter()
    await burst(load.samples)
    took, cpu = time.perf_counter() - started, time.process_time() - cpu
    figures = {
        "rate": load.samples / took,
        "cpu": cpu / load.samples * 1e6,
        "threads": psutil.Process().num_threads() - load.graders,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(figures), flush=True)
    os._exit(0)  # Closing thousands of connections is not what is measured.


def grade() -> None:
    number = 0
    while True:
        number = (number * 31 + 7) % 1_000_003


def authorities() -> bytes | None:
    file = os.environ.get("SSL_CERT_FILE")
    return Path(file).read_bytes() if file else None


async def open_wreq(root: str) -> Post:
    import wreq

    trusted = authorities()
    client = wreq.Client(
        runtime=wreq.Runtime(workers=1),
        no_proxy=True,
        pool_max_idle_per_host=4096,
        tls_verify=wreq.CertStore.from_pem_stack(trusted) if trusted else True,
    )

    async def post(route: str, body: bytes) -> bytes:
        async with await client.post(root + route, headers=HEADERS, body=body) as answer:
            assert answer.status.as_int() == 200
            return bytes(await answer.bytes())

    return post


async def open_pyreqwest(root: str) -> Post:
    from pyreqwest.client import ClientBuilder

    builder = ClientBuilder().http2(True).no_proxy()
    if trusted := authorities():
        builder = builder.add_root_certificate_pem(trusted)
    client = builder.build()

    async def post(route: str, body: bytes) -> bytes:
        answer = await client.post(root + route).headers(HEADERS).body_bytes(body).build().send()
        assert answer.status == 200
        return bytes(await answer.bytes())

    return post


async def open_pyqwest(root: str) -> Post:
    import pyqwest

    transport = pyqwest.HTTPTransport(
        pool_max_idle_per_host=4096, enable_otel=False, tls_ca_cert=authorities()
    )
    client = pyqwest.Client(transport)

    async def post(route: str, body: bytes) -> bytes:
        answer = await client.post(root + route, HEADERS, body)
        assert answer.status == 200, answer.content
        return answer.content

    return post


async def open_aiohttp(root: str) -> Post:
    import ssl

    import aiohttp

    trusted = authorities()
    context = ssl.create_default_context(cadata=trusted.decode()) if trusted else True
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, ssl=context))

    async def post(route: str, body: bytes) -> bytes:
        async with session.post(root + route, data=body, headers=HEADERS) as answer:
            assert answer.status == 200
            return await answer.read()

    return post


PEERS: dict[str, Callable[[str], Awaitable[Post]]] = {
    "wreq": open_wreq,
    "pyreqwest": open_pyreqwest,
    "pyqwest": open_pyqwest,
    "aiohttp": open_aiohttp,
}


if __name__ == "__main__":
    main()
