"""An engine, served over two sockets: messages in, batches out."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from itertools import count

import msgspec
import zmq
from zmq.auth.asyncio import AsyncioAuthenticator

from tinker_sidecar.engine.account import Accounts
from tinker_sidecar.engine.engine import Engine
from tinker_sidecar.ipc.handshake import USERNAME, requests_endpoint, results_endpoint
from tinker_sidecar.ipc.lending import LARGE, take_back
from tinker_sidecar.ipc.protocol import MAX_FRAME, Ack, Batch, Message, Resend
from tinker_sidecar.ipc.sockets import NO_LIMIT, GilSocket
from tinker_sidecar.ipc.watching import Watching
from tinker_sidecar.logs import engine_logger
from tinker_sidecar.onlookers import Onlookers
from tinker_sidecar.system import lend
from tinker_sidecar.watch.endpoint import answer_questions

__all__ = ["Doors", "ServedEngine"]

logger = engine_logger(__name__)

_DRAIN_LIMIT = 256
"""Messages taken before other callbacks get their turn."""
_RECONNECT_POLL = 0.002
_FAREWELL = 1.0
"""Seconds in which the server must have been told that nobody waits any more."""


class Doors:
    """Makes sockets, each pair of which lets in only those who know its secret."""

    def __init__(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._authenticator = AsyncioAuthenticator(self._context)
        self._authenticator.start()
        self._domains = count(1)

    def open(self, folder: str, secret: str) -> tuple[GilSocket, GilSocket]:
        """The sockets for requests and for results in `folder`."""
        domain = f"tinker-sidecar-{next(self._domains)}"
        self._authenticator.configure_plain(domain, {USERNAME.decode(): secret})
        return (
            self._bind(zmq.PULL, requests_endpoint(folder), domain),
            self._bind(zmq.PUSH, results_endpoint(folder), domain),
        )

    def _bind(self, kind: int, endpoint: str, domain: str) -> GilSocket:
        socket = self._context.socket(kind)
        socket.set_hwm(NO_LIMIT)
        socket.maxmsgsize = MAX_FRAME
        socket.plain_server = True
        socket.zap_domain = domain.encode()
        socket.bind(endpoint)
        return GilSocket(socket)


class ServedEngine:
    """The engine for process `program`, at the sockets in `folder`, for whoever knows `secret`.

    Parameters
    ----------
    borrows
        Whether that process can map memory that this one lends.
    accounts
        What the engine shares with others in this process.
    """

    def __init__(
        self,
        doors: Doors,
        folder: str,
        secret: str,
        program: int,
        watching: Watching,
        *,
        borrows: bool,
        accounts: Accounts | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._lends = borrows
        self._lent: dict[int, list[int]] = {}
        self._unacknowledged: tuple[int, bytes] | None = None
        self._requests, self._results = doors.open(folder, secret)
        self._decode = msgspec.msgpack.Decoder(Message).decode
        self._decode_batch = msgspec.msgpack.Decoder(Batch).decode
        self._encode = msgspec.msgpack.Encoder().encode
        self._is_closed = False
        self._folder, self.program, self._watching = folder, program, watching
        self.engine = Engine(self._send, program, watching, accounts)
        self._onlookers = Onlookers(self.engine, watching, program)
        self._endpoint: asyncio.Server | None = None
        """What `tinker-sidecar top` asks. It is kept here, since uvloop closes a server that nobody has."""
        self._loop.add_reader(self._requests.fd, self._drain)
        self._loop.call_soon(self._drain)

    async def let_be_watched(self) -> None:
        """From now on whoever the user wants to look on does, and `tinker-sidecar top` has its answers."""
        self._endpoint = await answer_questions(
            self._folder,
            program=self.program,
            command=self._watching.command,
            stats=partial(self.engine.stats, 0),
        )
        self._onlookers.start()

    def stop_being_watched(self) -> None:
        """Nothing will happen any more."""
        self._onlookers.close()
        if self._endpoint is not None:
            self._endpoint.close()

    def shut(self) -> None:
        """The program takes no more results. What it has asked goes on."""
        if self._is_closed:
            return
        self._is_closed = True
        self.stop_being_watched()
        self._loop.remove_reader(self._requests.fd)
        self._requests.close()
        self._results.close()

    async def close(self) -> None:
        """The program is gone: have the server stop working for it, and free what this had."""
        self.shut()
        await self.engine.leave(_FAREWELL)
        for number in list(self._lent):
            self._free(number)

    def _drain(self) -> None:
        """Handle what the client has sent."""
        for _ in range(_DRAIN_LIMIT):
            frame = None if self._is_closed else self._requests.receive()
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
        self._free(batch)

    def _free(self, batch: int) -> None:
        for fd in self._lent.pop(batch, ()):
            os.close(fd)

    def _send_frame(self, frame: bytes) -> None:
        if not self._is_closed and not self._results.send(frame):
            # The client's first request can overtake the set-up of its second connection.
            self._loop.call_later(_RECONNECT_POLL, self._send_frame, frame)
