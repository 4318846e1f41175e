"""The client's end of the sockets: messages out from any thread, batches in on whichever waits for them."""

from __future__ import annotations

import contextlib
import select
import threading
import weakref
from collections.abc import Callable
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import msgspec
import zmq

from tinker_client.connection.lent_payloads import LentPayloads
from tinker_client.connection.loop_reader import LoopReader
from tinker_client.connection.zmq_context import borrow_context, return_context
from tinker_client.errors import SidecarIPCError
from tinker_client.waking import release_stopped_loops, wake_together
from tinker_sidecar.ipc.handshake import USERNAME, requests_endpoint, results_endpoint
from tinker_sidecar.ipc.protocol import Ack, Batch, Message, Resend
from tinker_sidecar.ipc.sockets import NO_LIMIT, GilSocket
from tinker_sidecar.system import open_doorbell
from tinker_sidecar.system.bell import Ring

if TYPE_CHECKING:
    import asyncio

__all__ = ["Channel"]

_HEAD_START = 20
"""Milliseconds that event loops get to read what came before the receiving thread does it for them."""
_TURN = 1000
"""Milliseconds that any wait takes before it looks around."""
_LOOK_EVERY = 1.0
"""Seconds between looks at what else there is to see."""
_END_TIMEOUT = 5.0
"""Seconds that the receiving thread gets to end: it may wait for what the thread that waits for it holds."""


class Channel:
    """Connects to the sidecar `pid`, whose sockets lie in `folder`.

    `deliver` is called with each batch, and returns what `Ack.is_awaited` says. `closed` is called once, in
    the end, on the receiving thread: with None when `exit_fd` says that the sidecar has exited, or with what
    makes it useless. `look` is called there every second or so, and says whether the sidecar is to end, so
    that nothing which comes from it matters any more.

    Sending costs no GIL hand-off (see `tinker_sidecar.ipc.sockets`), and receiving costs one a batch, that of
    whoever waits: a thread that blocks on a future reads the socket itself, and so does an event loop
    with awaiting tasks. The receiving thread reads it for everybody else, and instead of a thread that does
    not get on: a signal handler may interrupt any of them, and wait there for other threads.
    """

    def __init__(
        self,
        *,
        pid: int,
        folder: str,
        secret: str,
        exit_fd: int,
        deliver: Callable[[Batch], bool],
        closed: Callable[[SidecarIPCError | None], None],
        give_up: Callable[[], None],
        look: Callable[[], bool],
    ) -> None:
        self._exit_fd = exit_fd
        self._deliver = deliver
        self._closed = closed
        self._give_up = give_up
        self._look = look
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Batch).decode
        # Two roles that one thread has at a time. They are plain attributes and not locks: Ctrl-C may come
        # between the taking of a lock and the `try` that gives it back, and would leave it taken. This relies
        # on CPython 3.11 to 3.14, which switch threads and run signal handlers only at calls and at backward
        # jumps: a test and an assignment without one in between cannot be interrupted.
        # tests/client/test_atomic_steps.py fails where there is one.
        self._poller: int | None = None
        """The thread that waits for batches on behalf of all that block."""
        self._reader: int | None = None
        """The thread that takes and delivers what has come."""
        self._taken = 0
        """Batches, to see whether a reader gets on."""
        self._ended = False
        self._lent = LentPayloads(pid)
        self._error: SidecarIPCError | None = None
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopReader] | None
        self._loops = weakref.WeakKeyDictionary()
        self._thread = threading.Thread(target=self._receive, name="tinker-sidecar-receiver", daemon=True)
        self._opened = contextlib.ExitStack()
        """What the receiving thread closes in the end."""
        try:
            self._context = borrow_context()
            self._opened.callback(return_context)
            self._results = self._connect(zmq.PULL, results_endpoint(folder), secret)
            self._requests = self._connect(zmq.PUSH, requests_endpoint(folder), secret)
            self._doorbell = open_doorbell(self._results.fd, exit_fd)
            self._opened.callback(self._doorbell.close)
            self._thread.start()
        except BaseException:
            self._opened.close()
            raise

    def send(self, message: Message) -> None:
        """Hand `message` to the sidecar; it leaves this process even if the GIL is not given up again."""
        self._requests.send(self._encode(message))

    def wait(self, done: Callable[[], bool], timeout: float | None) -> None:
        """Block this thread until `done()`, the timeout in seconds or the sidecar's exit, reading what comes.

        Returns at once when another thread reads already: it will see to everybody's batches.
        """
        thread, before = threading.get_ident(), self._poller
        if before not in (None, thread):
            return
        self._poller = thread
        try:
            self._doorbell.mute()
            deadline = None if timeout is None else monotonic() + timeout
            poll = select.poll()
            poll.register(self._results.fd, select.POLLIN)
            poll.register(self._exit_fd, select.POLLIN)
            while self._read() and not done():
                left = _TURN if deadline is None else min(_TURN, (deadline - monotonic()) * 1000)
                if left < 0 or any(fd == self._exit_fd for fd, _ in poll.poll(left)):
                    return
        finally:
            # `before` is this thread if a signal handler that waits has interrupted another wait of it.
            self._poller = before
            if before is None:
                self._doorbell.unmute()

    def read_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have `loop`, the running one, read what comes as long as it lives."""
        if self._loops is not None and loop not in self._loops:
            self._loops[loop] = LoopReader(loop, self._results.fd, self._read)

    def join(self) -> None:
        """Wait for the receiving thread, which ends with the sidecar and frees the sockets."""
        if threading.current_thread() is not self._thread and self._reader != threading.get_ident():
            self._thread.join(_END_TIMEOUT)

    def _connect(self, kind: int, endpoint: str, secret: str) -> GilSocket:
        socket: zmq.Socket[Any] = self._context.socket(kind)
        self._opened.callback(socket.close, linger=0)
        socket.set_hwm(NO_LIMIT)
        socket.linger = 0
        socket.plain_username = USERNAME
        socket.plain_password = secret.encode()
        socket.connect(endpoint)
        connected = GilSocket(socket)
        self._opened.callback(connected.close)
        return connected

    def _receive(self) -> None:
        try:
            self._receive_until_exit()
        except BaseException as error:  # noqa: BLE001 - Everybody who waits must hear of it.
            self._error = SidecarIPCError(f"the thread that receives results failed: {error!r}")
            self._give_up()
        self._end()

    def _receive_until_exit(self) -> None:
        exited = select.poll()
        exited.register(self._exit_fd, select.POLLIN)
        reader, taken = self._reader, self._taken
        looks_at = monotonic() + _LOOK_EVERY
        while (ring := self._doorbell.wait(_TURN)) is not Ring.EXIT:
            if ring is Ring.RESULTS and self._loops:
                exited.poll(_HEAD_START)  # Event loops have heard it, too, and may read it.
            elif ring is Ring.NONE:
                if (reader, taken) == (self._reader, self._taken):
                    self._dismiss(reader)
                reader, taken = self._reader, self._taken
                release_stopped_loops()
            self._read()
            if self._poller is None:
                self._doorbell.unmute()
            if monotonic() >= looks_at:
                looks_at = monotonic() + _LOOK_EVERY
                self._ended = self._ended or self._look()

    def _dismiss(self, reader: int | None) -> None:
        """Have another go on in place of `reader`, which may wait for just what it has to deliver."""
        if reader is not None:
            self._reader = None
            self._ask_again()

    def _end(self) -> None:
        deadline = monotonic() + _TURN / 1000
        while self._reader is not None and monotonic() < deadline:
            sleep(0.001)  # The reader sees the exit as well, and ends.
        self._reader = None
        self._read()
        self._ended = True
        self._closed(self._error)
        loops, self._loops = self._loops, None
        for reader in list((loops or {}).values()):
            reader.close()
        self._opened.close()

    def _read(self) -> bool:
        """Deliver what has come, unless another thread does. False: no more will come."""
        # Tasks are resumed when the reading is over: while one runs, another thread may have to read.
        with wake_together():
            self._read_unless_another_does()
        return self._error is None and not self._ended

    def _read_unless_another_does(self) -> None:
        thread = threading.get_ident()
        if self._reader == thread:
            self._dismiss(thread)  # A signal handler waits here, and has interrupted the delivery of a batch.
        if self._reader is None:
            self._reader = thread
            try:
                self._deliver_all(thread)
            except BaseException:
                # `KeyboardInterrupt`, if this is the main thread: the batch that it interrupted comes again.
                self._ask_again()
                raise
            finally:
                if self._reader == thread:
                    self._reader = None

    def _deliver_all(self, thread: int) -> None:
        while (
            self._reader == thread
            and not self._ended
            and self._error is None
            and (frame := self._results.receive()) is not None
        ):
            self._taken += 1
            self._take(frame)

    def _ask_again(self) -> None:
        self._requests.send(self._encode(Resend()))

    def _take(self, frame: bytes) -> None:
        try:
            batch = self._decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            # This ends the sidecar, and the receiving thread, which sees its exit, tells everybody the error.
            self._error = SidecarIPCError(f"the sidecar sent what is not a message: {error}")
            self._give_up()
            return
        if batch.lent:
            borrowed = self._lent.put_in(batch)
            if borrowed is None:
                self._requests.send(self._encode(Resend(whole=True)))
                return
            batch = borrowed
        is_awaited = self._deliver(batch)
        self._lent.delivered()
        # Acknowledged after the delivery: results that come meanwhile then travel in one batch.
        self._requests.send(self._encode(Ack(batch.number, is_awaited)))
