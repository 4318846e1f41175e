"""`tinker-sidecar serve`."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import sys
from enum import StrEnum
from functools import partial
from typing import Annotated, NoReturn

import typer
import uvloop

from tinker_sidecar.local_server.fault_specs import parse_fault
from tinker_sidecar.local_server.model import ServedModel
from tinker_sidecar.local_server.options import ServerOptions, client_flags
from tinker_sidecar.local_server.quirks import Quirk
from tinker_sidecar.local_server.server import serve as run_server
from tinker_sidecar.local_server.throttle import ServerLimits
from tinker_sidecar.needs import exit_if_missing
from tinker_sidecar.processes.parent import watch_parent

__all__ = ["serve"]

_NAME = "tinker-sidecar serve"
_SEE = "see docs/local_server.md"


class EngineName(StrEnum):
    """What may run behind the server."""

    TINY = "tiny"
    SIM = "sim"


class ResultEncoding(StrEnum):
    """How results are written."""

    AUTO = "auto"
    JSON = "json"
    PROTOBUF = "protobuf"


def serve(
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port to listen on; 0 picks a free one.")
    ] = 8000,
    engine: Annotated[
        EngineName,
        typer.Option(help="A small real language model, or pseudo-tokens without one."),
    ] = EngineName.TINY,
    latency: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="sim: time before an answer.")
    ] = 0.05,
    jitter: Annotated[
        float, typer.Option(metavar="PART", min=0, max=1, help="sim: how far latencies stray.")
    ] = 0.0,
    tokens_per_second: Annotated[
        float, typer.Option(metavar="N", min=0, help="sim: pace of a sample; 0 is at once.")
    ] = 0.0,
    api_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            envvar="TINKER_SIDECAR_SERVE_API_KEY",
            help="The only key let in; else none is needed.",
        ),
    ] = None,
    jwt: Annotated[bool, typer.Option("--jwt", help="Trade keys for short-lived tokens.")] = False,
    jwt_lifetime: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="How long such a token is good.")
    ] = 3600.0,
    session_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="A session ends so long after a heartbeat.")
    ] = 300.0,
    long_poll: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="How long a poll is held before a 408.")
    ] = 40.0,
    result_encoding: Annotated[
        ResultEncoding,
        typer.Option(help="auto: as the Accept header says."),
    ] = ResultEncoding.AUTO,
    inline_result_bytes: Annotated[
        int, typer.Option(metavar="BYTES", min=0, help="A larger result is announced first.")
    ] = 1 << 20,
    client_config: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A flag for clients, e.g. sample_use_retrieve_futures=true."),
    ] = None,
    fail_token: Annotated[
        int | None, typer.Option(metavar="TOKEN", help="sim: a prompt that has this token fails.")
    ] = None,
    slots: Annotated[
        int, typer.Option(metavar="N", min=0, show_default=False, help="429 for what is more at once.")
    ] = 100_000,
    rate: Annotated[
        float | None, typer.Option(metavar="N", min=0.001, help="429 for what is more a second.")
    ] = None,
    burst: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Of those at once; or a second's."),
    ] = None,
    retry_after: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The Retry-After header of a refusal.")
    ] = None,
    quirk: Annotated[
        list[Quirk] | None,
        typer.Option(
            metavar="NAME", help=f"Differ from the protocol as some servers do, {_SEE}; repeatable."
        ),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROUTE:KIND[@PROBABILITY][,OPTION=VALUE]",
            help=f"Go wrong, e.g. asample:500@0.05 or retrieve_future:reset,first=3, {_SEE}; repeatable.",
        ),
    ] = None,
    fault_seed: Annotated[int, typer.Option(metavar="N", help="Which requests the faults hit.")] = 0,
    parent: Annotated[int | None, typer.Option("--watch-parent", hidden=True, metavar="PID")] = None,
) -> None:
    """Run a Tinker API server on this machine.

    The sim engine is a simulation: deterministic pseudo-tokens after a delay, for benchmarks and tests.
    """
    try:
        static_flags, dynamic_flags = client_flags(client_config or [], jwt=jwt)
        faults = tuple(parse_fault(text) for text in fault or [])
    except ValueError as error:
        _refuse(str(error))
    listener = _listen(host, port, api_key)
    options = ServerOptions(
        session_timeout=session_timeout,
        long_poll=long_poll,
        result_encoding=result_encoding.value,
        inline_result_bytes=inline_result_bytes,
        api_key=api_key,
        loopback=_is_loopback(listener),
        jwt_lifetime=jwt_lifetime if jwt else None,
        client_config=static_flags,
        dynamic_config=dynamic_flags,
        limits=_limits(slots, rate, burst, retry_after),
        quirks=frozenset(quirk or []),
        faults=faults,
        fault_seed=fault_seed,
    )
    logging.basicConfig(level=logging.WARNING, format=f"{_NAME}: %(levelname)s: %(message)s")
    model = _sim(latency, jitter, tokens_per_second, fail_token) if engine is EngineName.SIM else _tiny()
    uvloop.run(_serve(model, options, listener, parent))


async def _serve(
    model: ServedModel, options: ServerOptions, listener: socket.socket, parent: int | None
) -> None:
    if parent is not None:
        watch_parent(parent, partial(os._exit, 0))
    host, port = listener.getsockname()[:2]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def on_listening() -> None:
        print(f"{_NAME}: listening on http://{address} (engine: {model.label})", flush=True)

    await run_server(model, options, listener, on_listening)


def _listen(host: str, port: int, api_key: str | None) -> socket.socket:
    """A bound socket. Ends the program with one line when there can be none."""
    if api_key is not None and not (api_key.isascii() and api_key.isprintable() and api_key.strip()):
        _refuse("--api-key must be printable ASCII, and not empty")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        _refuse(f"cannot listen on {host}: {error.strerror}")
    if api_key is None and not ipaddress.ip_address(address[0]).is_loopback:
        _refuse(f"{host} is open to other machines: that needs --api-key")
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        # Of two servers that bind one port, only the first gets to listen.
        listener.listen()
    except OSError as error:
        _refuse(f"cannot listen on {host} port {port}: {error.strerror}")
    return listener


def _limits(slots: int, rate: float | None, burst: int | None, retry_after: str | None) -> ServerLimits:
    if burst is not None and rate is None:
        _refuse("--burst needs --rate")
    if retry_after is not None and not (retry_after.isascii() and retry_after.isprintable()):
        _refuse("--retry-after must be printable ASCII")
    return ServerLimits(
        slots=slots, rate=rate, burst=burst or max(1, int(rate or 1)), retry_after=retry_after
    )


def _is_loopback(listener: socket.socket) -> bool:
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def _sim(latency: float, jitter: float, tokens_per_second: float, fail_token: int | None) -> ServedModel:
    from tinker_sidecar.local_server.engines.sim import SimEngine

    engine = SimEngine(latency, jitter, tokens_per_second, fail_token)
    return ServedModel(
        engine=engine,
        label="sim, a simulation",
        description="sim is a simulation: deterministic pseudo-tokens, no model",
        placeholder_token=0,
    )


def _tiny() -> ServedModel:
    with exit_if_missing("the engine tiny", "tinker-sidecar"):
        from tinker_sidecar.local_server.engines.tiny.engine import TinyEngine

    return ServedModel(
        engine=TinyEngine(),
        label="tiny, a small language model",
        description="tiny is a small language model for tests and demonstrations",
        placeholder_token=None,
    )


def _refuse(reason: str) -> NoReturn:
    print(f"{_NAME}: {reason}", file=sys.stderr)
    raise typer.Exit(1)
