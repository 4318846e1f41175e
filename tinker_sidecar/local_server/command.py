"""`tinker-sidecar serve`."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import sys
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
import uvloop

from tinker_sidecar.addresses import is_http_address
from tinker_sidecar.credentials import without_password
from tinker_sidecar.ipc.watching import RECORDING_BYTES
from tinker_sidecar.local_server.engine_choice import EngineOptions, open_model, unfit_option
from tinker_sidecar.local_server.engines import UnavailableEngineError
from tinker_sidecar.local_server.fault_specs import parse_fault
from tinker_sidecar.local_server.greeting import greeting
from tinker_sidecar.local_server.options import ServerOptions, client_flags
from tinker_sidecar.local_server.quirks import Quirk
from tinker_sidecar.local_server.server import LocalApi
from tinker_sidecar.local_server.server import serve as run_server
from tinker_sidecar.local_server.throttle import ServerLimits
from tinker_sidecar.processes.parent import watch_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tinker_sidecar.local_server.recording_layer import RecordingLayer
    from tinker_sidecar.local_server.server import ServedApi

__all__ = ["serve"]

_NAME = "tinker-sidecar serve"
_SEE = "see docs/local_server.md"


class ResultEncoding(StrEnum):
    """How results are written."""

    AUTO = "auto"
    JSON = "json"
    PROTOBUF = "protobuf"


def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(metavar="PORT", min=0, max=65535, show_default=False, help="8000; 0 picks a free one."),
    ] = 8000,
    engine: Annotated[
        str,
        typer.Option(
            metavar="ENGINE",
            help="tiny, sim, replay, transformers, vllm, sglang, tinker, or your own, package.module:Class.",
        ),
    ] = "tiny",
    latency: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, show_default=False, help="sim: time before an answer.")
    ] = 0.05,
    jitter: Annotated[
        float,
        typer.Option(metavar="PART", min=0, max=1, show_default=False, help="sim: how far that strays."),
    ] = 0.0,
    tokens_per_second: Annotated[
        float, typer.Option(metavar="N", min=0, show_default=False, help="sim: pace; 0 is at once.")
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
        float,
        typer.Option(metavar="SECONDS", min=1, show_default=False, help="How long they are good (3600)."),
    ] = 3600.0,
    session_timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0.1, show_default=False, help="A silent session ends then (300)."
        ),
    ] = 300.0,
    long_poll: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0, show_default=False, help="How long a poll is held (40)."),
    ] = 40.0,
    result_encoding: Annotated[
        ResultEncoding,
        typer.Option(help="auto: as the Accept header says."),
    ] = ResultEncoding.AUTO,
    inline_result_bytes: Annotated[
        int,
        typer.Option(metavar="BYTES", min=0, show_default=False, help="A larger result is announced first."),
    ] = 1 << 20,
    client_config: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A flag for clients; repeatable."),
    ] = None,
    from_: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="replay: the folder that was recorded to.")
    ] = None,
    recorded_latency: Annotated[
        bool, typer.Option("--recorded-latency", help="replay: take as long as it took.")
    ] = False,
    fallback: Annotated[
        str | None, typer.Option(metavar="ENGINE", help="replay: who answers what was not recorded.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep requests and results there, for replay.")
    ] = None,
    record_max_bytes: Annotated[
        int, typer.Option(metavar="BYTES", min=1, show_default=False, help="What those may grow to.")
    ] = RECORDING_BYTES,
    upstream: Annotated[
        str | None, typer.Option(metavar="URL", help="tinker, vllm, sglang: the one behind.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="transformers: a folder, or a hub's name.")
    ] = None,
    adapters: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where tinker://RUN/NAME is a folder.")
    ] = None,
    dtype: Annotated[
        str, typer.Option(metavar="TYPE", show_default=False, help="transformers: such as bfloat16.")
    ] = "auto",
    device: Annotated[
        str, typer.Option(metavar="DEVICE", show_default=False, help="transformers: such as cuda:1.")
    ] = "auto",
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
            help=f"Go wrong, e.g. asample:500@0.05, {_SEE}; repeatable.",
        ),
    ] = None,
    fault_seed: Annotated[int, typer.Option(metavar="N", help="Which requests the faults hit.")] = 0,
    parent: Annotated[int | None, typer.Option("--watch-parent", hidden=True, metavar="PID")] = None,
) -> None:
    """Run a Tinker API server on this machine: docs/local_server.md."""
    if unfit := unfit_option(_given(context), engine, fallback):
        _refuse(unfit)
    if record is not None and from_ is not None and record.resolve() == from_.resolve():
        _refuse("--record and --from must be two folders")
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
    engine_options = EngineOptions(
        latency=latency,
        jitter=jitter,
        tokens_per_second=tokens_per_second,
        fail_token=fail_token,
        recording=from_,
        recorded_latency=recorded_latency,
        fallback=fallback,
        upstream=upstream,
        model=model,
        dtype=dtype,
        device=device,
        adapters=adapters,
    )
    make_api: Callable[[RecordingLayer | None], ServedApi]
    if engine == "tinker":
        make_api, label = _forwarded(upstream)
        models: tuple[str, ...] = ()
    else:
        try:
            served = open_model(engine, engine_options)
        except UnavailableEngineError as error:
            _refuse(str(error))
        make_api, label, models = partial(LocalApi, served, options), served.label, served.names
    recording = _recording(record, record_max_bytes)
    label += "" if record is None else f", recorded in {record}"
    keyed = api_key is not None or engine == "tinker"
    uvloop.run(
        _serve(partial(make_api, recording), partial(greeting, label, models, keyed), listener, parent)
    )


async def _serve(
    make_api: Callable[[], ServedApi],
    greet: Callable[[str], str],
    listener: socket.socket,
    parent: int | None,
) -> None:
    if parent is not None:
        watch_parent(parent, partial(os._exit, 0))
    host, port = listener.getsockname()[:2]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def on_listening() -> None:
        # In one piece: whoever started this may read the first line and no more.
        print(greet(f"http://{address}"), flush=True)

    await run_server(make_api(), listener, on_listening)


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


def _recording(folder: Path | None, max_bytes: int) -> RecordingLayer | None:
    """What records to `folder`, if that is wanted. Ends the program with one line where it cannot be."""
    if folder is None:
        return None
    from tinker_sidecar.local_server.recording_layer import RecordingLayer
    from tinker_sidecar.recording.database import RecordingError, open_for_writing

    try:
        open_for_writing(folder, max_bytes).close()
    except RecordingError as error:
        _refuse(str(error))
    return RecordingLayer(folder, max_bytes)


def _forwarded(upstream: str | None) -> tuple[Callable[[RecordingLayer | None], ServedApi], str]:
    """What passes everything on to `upstream`, and a name for it."""
    from tinker_sidecar.local_server.forwarded import ForwardedApi, why_silent

    if upstream is None or not is_http_address(upstream):
        _refuse("--engine tinker needs --upstream URL, the http:// or https:// address of a Tinker server")
    place = without_password(upstream)
    if (silent := uvloop.run(why_silent(upstream))) is not None:
        logging.warning("%s %s: until it answers, clients are told 502", place, silent)
    return partial(ForwardedApi, upstream), f"tinker at {place}"


def _given(context: typer.Context) -> Iterator[str]:
    """The options that are on the command line."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            yield name


def _refuse(reason: str) -> NoReturn:
    print(f"{_NAME}: {reason}", file=sys.stderr)
    raise typer.Exit(1)
