"""The sidecar: the loop between the sockets and the engine, and the watch on its parent."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import signal
import sys
from functools import partial

import msgspec
import uvloop
import zmq
from zmq.auth.asyncio import AsyncioAuthenticator

from tinker_sidecar.ipc.handshake import (
    USERNAME,
    ZAP_DOMAIN,
    Greeting,
    Hello,
    requests_endpoint,
    results_endpoint,
)
from tinker_sidecar.ipc.lending import LARGE, take_back
from tinker_sidecar.ipc.protocol import MAX_FRAME, Ack, Batch, LogLine, Message, Resend
from tinker_sidecar.ipc.sockets import NO_LIMIT, GilSocket
from tinker_sidecar.ipc.watching import Watching
from tinker_sidecar.processes.exits import remove_folder
from tinker_sidecar.processes.parent import watch_parent
from tinker_sidecar.system import lend, schedule_as_batch
from tinker_sidecar.system.descriptors import allow_many_descriptors

__all__ = ["main"]

logger = logging.getLogger(__name__)

_DRAIN_LIMIT = 256
"""Messages taken before other callbacks get their turn."""
_RECONNECT_POLL = 0.002
_ZMQ_THREADS = 2


class Daemon:
    """One engine, served over the sockets in `hello.folder` to whoever knows `hello.secret`."""

    def __init__(self, hello: Hello) -> None:
        # Imported here, after the cheap part of start-up has had its chance to fail early.
        from tinker_sidecar.engine.engine import Engine

        self._loop = asyncio.get_running_loop()
        self._lends = hello.borrows
        self._lent: dict[int, list[int]] = {}
        self._unacknowledged: tuple[int, bytes] | None = None
        self._context = zmq.Context()
        self._authenticator = AsyncioAuthenticator(self._context)
        self._authenticator.start()
        self._authenticator.configure_plain(ZAP_DOMAIN.decode(), {USERNAME.decode(): hello.secret})
        self._requests = self._bind(zmq.PULL, requests_endpoint(hello.folder))
        self._results = self._bind(zmq.PUSH, results_endpoint(hello.folder))
        self._decode = msgspec.msgpack.Decoder(Message).decode
        self._decode_batch = msgspec.msgpack.Decoder(Batch).decode
        self._encode = msgspec.msgpack.Encoder().encode
        self.engine = Engine(self._send, hello.parent, hello.watching)
        self.doors: list[object] = []
        """What others ask the engine by. They are kept here, since uvloop closes a server that nobody has."""
        self._loop.add_reader(self._requests.fd, self._drain)
        self._loop.call_soon(self._drain)

    def _bind(self, kind: int, endpoint: str) -> GilSocket:
        socket = self._context.socket(kind)
        socket.set_hwm(NO_LIMIT)
        socket.maxmsgsize = MAX_FRAME
        socket.plain_server = True
        socket.zap_domain = ZAP_DOMAIN
        socket.bind(endpoint)
        return GilSocket(socket)

    def _drain(self) -> None:
        """Handle what the client has sent."""
        for _ in range(_DRAIN_LIMIT):
            frame = self._requests.receive()
            if frame is None:
                return
            try:
                message = self._decode(frame)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                logger.warning("dropped a malformed message of %d bytes: %s", len(frame), error)
                continue
            if type(message) is Resend:
                self._resend(whole=message.whole)
                continue
            if type(message) is Ack:
                self._acknowledged(message.batch)
            self.engine.handle(message)
        # The descriptor is edge-triggered and will not call again for what is left.
        self._loop.call_soon(self._drain)

    def _send(self, batch: Batch) -> None:
        """Send a batch and keep it until it is acknowledged; the engine makes no other before that."""
        if self._lends:
            for index, payload in enumerate(batch.payloads):
                if len(payload) >= LARGE:
                    self._lend(batch, index)
        self._unacknowledged = (batch.number, self._encode(batch))
        self._send_frame(self._unacknowledged[1])

    def _resend(self, *, whole: bool) -> None:
        """Send the last batch again, unless it is acknowledged; `whole`: with what it lent in it."""
        if self._unacknowledged is None:
            return
        number, frame = self._unacknowledged
        if whole:
            batch = self._decode_batch(frame)
            for index, fd, size in batch.lent:
                batch.payloads[index] = take_back(fd, size)
            batch.lent.clear()
            self._lent.pop(number, None)
            frame = self._encode(batch)
            self._unacknowledged = number, frame
        self._send_frame(frame)

    def _lend(self, batch: Batch, index: int) -> None:
        """Replace a payload by a descriptor from which the client can map it."""
        payload = batch.payloads[index]
        try:
            fd = lend(payload)
        except OSError as error:
            logger.debug("cannot lend a payload, sending it instead: %s", error)
            return
        batch.payloads[index] = b""
        batch.lent.append((index, fd, len(payload)))
        self._lent.setdefault(batch.number, []).append(fd)

    def _acknowledged(self, batch: int) -> None:
        """The client has dealt with `batch`, and mapped what it lent."""
        if self._unacknowledged is not None and self._unacknowledged[0] == batch:
            self._unacknowledged = None
        for fd in self._lent.pop(batch, ()):
            os.close(fd)

    def _send_frame(self, frame: bytes) -> None:
        if not self._results.send(frame):
            # The client's first request can overtake the set-up of its second connection.
            self._loop.call_later(_RECONNECT_POLL, self._send_frame, frame)


class _Forwarder(logging.Handler):
    """Sends log records to the handlers of the user's process."""

    def __init__(self, daemon: Daemon) -> None:
        super().__init__()
        self._formatter = logging.Formatter()
        self._daemon = daemon
        self._loop = asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + self._formatter.formatException(record.exc_info)
        event = LogLine(record.name, record.levelno, message)
        self._loop.call_soon_threadsafe(self._daemon.engine.outbox.event, event)


def main() -> None:
    """Read the parent's hello from stdin, serve until the parent is gone, leave nothing behind."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the user's program.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # A program that ignores it has its children do so, too.
    faulthandler.enable()
    schedule_as_batch()
    allow_many_descriptors()
    try:
        hello = msgspec.json.decode(sys.stdin.buffer.readline(), type=Hello)
    except msgspec.DecodeError:
        sys.exit("the sidecar is started by tinker_client, with TINKER_SUBPROCESS_SAMPLING=1, not by hand")
    try:
        uvloop.run(_serve(hello))
    finally:
        remove_folder(hello.folder)


async def _serve(hello: Hello) -> None:
    gone = asyncio.Event()
    watch_parent(hello.parent, gone.set, or_stdin=True)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, gone.set)
    try:
        from tinker_sidecar.engine.http_threads import start_http_threads
        from tinker_sidecar.onlookers import Onlookers

        start_http_threads(besides=_ZMQ_THREADS)
        daemon = Daemon(hello)
    except Exception as error:
        _greet(Greeting(error=f"{type(error).__name__}: {error}"))
        raise
    _set_up_logging(daemon, hello.watching)
    _spare_the_collector()
    _greet(Greeting())
    await _let_be_watched(daemon, hello)
    onlookers = Onlookers(daemon.engine, hello.watching, hello.parent)
    onlookers.start()
    await gone.wait()
    # Nobody is left to wait for an orderly end, and requests in flight have no one to go to.
    onlookers.close()
    remove_folder(hello.folder)
    os._exit(0)


async def _let_be_watched(daemon: Daemon, hello: Hello) -> None:
    """From now on `tinker-sidecar top` has its answers."""
    from tinker_sidecar.watch.endpoint import answer_questions

    program, command, stats = hello.parent, hello.watching.command, daemon.engine.stats
    daemon.doors.append(
        await answer_questions(hello.folder, program=program, command=command, stats=partial(stats, 0))
    )


def _spare_the_collector() -> None:
    """Collect garbage less often: by default it looks at thousands of requests in flight again and again."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _greet(greeting: Greeting) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(greeting) + b"\n")
    sys.stdout.buffer.flush()


def _set_up_logging(daemon: Daemon, watching: Watching) -> None:
    """Lines of ours go to the program, whose own settings decide what becomes of them."""
    handler = _Forwarder(daemon)
    handler.addFilter(lambda record: record.name.startswith("tinker_sidecar"))
    last_words = logging.StreamHandler()
    last_words.setLevel(logging.WARNING)
    logging.basicConfig(level=logging.WARNING, handlers=[handler, last_words])
    usual = logging.DEBUG if watching.debug else logging.INFO
    logging.getLogger("tinker_sidecar").setLevel(watching.log_level or usual)
    logging.getLogger("zmq.auth").setLevel(logging.WARNING)  # Its debug lines hold the secret.
