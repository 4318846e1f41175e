"""From an address to the engine of the server there, which has answered and passed a trial."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import uvloop

from tinker_sidecar.addresses import is_http_address
from tinker_sidecar.credentials import fits_header
from tinker_sidecar.local_server.engines import UnavailableEngineError
from tinker_sidecar.local_server.engines.sglang import open_sglang
from tinker_sidecar.local_server.engines.upstream_engine import UpstreamEngine
from tinker_sidecar.local_server.engines.upstream_server import UpstreamServer
from tinker_sidecar.local_server.engines.vllm import open_vllm

__all__ = ["open_upstream_engine"]

_KEY = "TINKER_SIDECAR_UPSTREAM_API_KEY"

_PATIENCE = 120.0
"""Seconds that the server may take to answer all that it is asked at first: a CPU's first sample is slow."""

_KINDS = {"vllm": ("vLLM", open_vllm), "sglang": ("SGLang", open_sglang)}


def open_upstream_engine(
    name: str, base_url: str | None, adapters: Path | None = None
) -> tuple[UpstreamEngine, UpstreamServer, str]:
    """The engine called `name`, the server behind it, and that server's kind and version.

    `adapters` is a folder of that server's machine.

    Raises `UnavailableEngineError`.
    """
    kind, open_engine = _KINDS[name]
    if base_url is None or not is_http_address(base_url):
        raise UnavailableEngineError(
            f"--engine {name} needs --upstream URL, the http:// or https:// address of a server of {kind}"
        )
    key = os.environ.get(_KEY)
    if key is not None and not fits_header(key):
        raise UnavailableEngineError(f"{_KEY} must be one line of printable ASCII")
    server = UpstreamServer(kind, base_url, key)

    async def meet() -> tuple[UpstreamEngine, str]:
        try:
            async with asyncio.timeout(_PATIENCE):
                return await open_engine(server, adapters)
        finally:
            # Connections belong to the event loop that they were opened on.
            await server.close()

    try:
        # With asyncio's own loop, a thread of the HTTP library may come back when Python has ended.
        engine, label = uvloop.run(meet())
    except UnavailableEngineError as error:
        raise UnavailableEngineError(f"cannot use {server.place}: {error}") from None
    except TimeoutError:
        raise UnavailableEngineError(
            f"cannot use {server.place}: it has not done a trial within {_PATIENCE:.0f} s"
        ) from None
    return engine, server, label
