"""`tinker-sidecar serve`."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
import uvloop

from tinker_sidecar.local_server.fault_specs import KINDS, parse_fault
from tinker_sidecar.local_server.model import ServedModel
from tinker_sidecar.local_server.options import ServerOptions, client_flags
from tinker_sidecar.local_server.parent import end_with_parent
from tinker_sidecar.local_server.quirks import QUIRKS, Quirk
from tinker_sidecar.local_server.server import serve as run_server

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["serve"]

_NAME = "tinker-sidecar serve"


def _describe(meanings: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {meaning}" for name, meaning in meanings.items()) + "."


class EngineName(StrEnum):
    TINY = "tiny"
    SIM = "sim"


class ResultEncoding(StrEnum):
    AUTO = "auto"
    JSON = "json"
    PROTOBUF = "protobuf"


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")
    ] = 8000,
    engine: Annotated[
        EngineName,
        typer.Option(
            help="tiny: a small real language model. sim: a simulation, pseudo-tokens without a model."
        ),
    ] = EngineName.TINY,
    latency: Annotated[float, typer.Option(min=0, help="sim: seconds before a request is answered.")] = 0.05,
    jitter: Annotated[
        float, typer.Option(min=0, max=1, help="sim: how far latencies stray, as a fraction.")
    ] = 0.0,
    tokens_per_second: Annotated[
        float, typer.Option(min=0, help="sim: pace of each sample; 0 takes no time per token.")
    ] = 0.0,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="TINKER_SIDECAR_SERVE_API_KEY", help="The only key let in; without it none is needed."
        ),
    ] = None,
    jwt: Annotated[
        bool, typer.Option("--jwt", help="Have clients exchange their key for short-lived tokens.")
    ] = False,
    jwt_lifetime: Annotated[float, typer.Option(min=1, help="Seconds such a token is good for.")] = 3600.0,
    session_timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds without a heartbeat after which a session ends.")
    ] = 300.0,
    long_poll: Annotated[
        float, typer.Option(min=0, help="Seconds a pending request is held before a 408.")
    ] = 40.0,
    result_encoding: Annotated[
        ResultEncoding,
        typer.Option(help="auto follows the Accept header; the others ignore it, as some servers do."),
    ] = ResultEncoding.AUTO,
    inline_result_bytes: Annotated[
        int, typer.Option(min=0, help="A larger result is announced by its size first.")
    ] = 1 << 20,
    client_config: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="A flag to hand to clients, e.g. sample_use_retrieve_futures=true."
        ),
    ] = None,
    fail_token: Annotated[
        int | None, typer.Option(metavar="TOKEN", help="sim: a request whose prompt has this token fails.")
    ] = None,
    quirk: Annotated[
        list[Quirk] | None,
        typer.Option(help="Differ from the protocol as some servers do; repeatable. " + _describe(QUIRKS)),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROUTE:KIND[@PROBABILITY][,OPTION=VALUE]",
            help="Go wrong, e.g. asample:500@0.05 or retrieve_future:reset,first=3; repeatable. A route is"
            " asample, …, or *; a kind an HTTP status or one below; options are first=N, after=N, seconds=S,"
            " mib=N and, last, body=TEXT. " + _describe(KINDS),
        ),
    ] = None,
    fault_seed: Annotated[int, typer.Option(help="Which requests the faults hit.")] = 0,
    watch_parent: Annotated[int | None, typer.Option(hidden=True, metavar="PID")] = None,
) -> None:
    """Run a Tinker API server on this machine.

    The sim engine is a simulation: deterministic pseudo-tokens after a delay, for benchmarks and tests.
    """
    try:
        static_flags, dynamic_flags = client_flags(client_config or [], jwt=jwt)
        faults = tuple(parse_fault(text) for text in fault or [])
    except ValueError as error:
        _refuse(str(error))
    options = ServerOptions(
        session_timeout=session_timeout,
        long_poll=long_poll,
        result_encoding=result_encoding.value,
        inline_result_bytes=inline_result_bytes,
        api_key=api_key,
        jwt_lifetime=jwt_lifetime if jwt else None,
        client_config=static_flags,
        dynamic_config=dynamic_flags,
        quirks=frozenset(quirk or []),
        faults=faults,
        fault_seed=fault_seed,
    )
    listener = _listen(host, port, api_key)
    logging.basicConfig(level=logging.WARNING, format=f"{_NAME}: %(levelname)s: %(message)s")
    model = _sim(latency, jitter, tokens_per_second, fail_token) if engine is EngineName.SIM else _tiny()
    uvloop.run(_serve(model, options, listener, watch_parent))


async def _serve(
    model: ServedModel, options: ServerOptions, listener: socket.socket, watch_parent: int | None
) -> None:
    if watch_parent is not None:
        end_with_parent(watch_parent)
    host, port = listener.getsockname()[:2]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def on_listening() -> None:
        print(f"{_NAME}: listening on http://{address} (engine: {model.label})", flush=True)

    await run_server(model, options, listener, on_listening)


def _listen(host: str, port: int, api_key: str | None) -> socket.socket:
    """A bound socket. Ends the program with one line when there can be none."""
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
    # Its matrices are too small to share: OpenBLAS's threads would only fight the rest of the machine.
    # Read when numpy is first imported, which nothing before this does.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from tinker_sidecar.local_server.engines.tiny import TinyEngine

    return ServedModel(
        engine=TinyEngine(),
        label="tiny, a small language model",
        description="tiny is a small language model for tests and demonstrations",
        placeholder_token=None,
    )


def _refuse(reason: str) -> NoReturn:
    print(f"{_NAME}: {reason}", file=sys.stderr)
    raise typer.Exit(1)
