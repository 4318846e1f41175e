"""`python -m tinker_sidecar.hub`: a sidecar that the processes of one user share. Started by `tinker_client`.

It is a child of nobody, since it must outlive whoever starts it, and ends some time after the last of them.
Each program has an engine of its own here, and sockets and a secret, so that none can read or send what is
another's. What they share, if they have the same credential, are the accounts: see `engine.account`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from shutil import rmtree

import msgspec
import uvloop

from tinker_sidecar.engine.account import Accounts
from tinker_sidecar.engine.fair_queue import program
from tinker_sidecar.engine.http_runtime import http_runtime
from tinker_sidecar.engine.outbox import Outbox
from tinker_sidecar.engine.pace import Pace
from tinker_sidecar.idle import give_back_memory_when_idle
from tinker_sidecar.ipc.shared import (
    ATTACH,
    EXITING,
    LOCK,
    LONGEST_LINE,
    PROTOCOL,
    Attach,
    Attached,
    HubHello,
    Started,
)
from tinker_sidecar.ipc.stats import ProgramStats
from tinker_sidecar.logs import concerned, engine_logger
from tinker_sidecar.onlookers import import_all
from tinker_sidecar.processes.exits import remove_folder
from tinker_sidecar.serving import Doors, ServedEngine
from tinker_sidecar.set_up import (
    ZMQ_THREADS,
    set_up_logging,
    set_up_process,
    spare_the_collector,
    take_level,
    wanted_level,
)
from tinker_sidecar.system.locks import lock
from tinker_sidecar.watch.questions import NONSENSE

assert sys.platform == "linux"  # Others have no credentials of peers, or no pidfd.

__all__ = ["main"]

logger = engine_logger(__name__)

_PATIENCE = 5.0
"""Seconds that a program has to present itself."""
_FIRST = 5.0
"""Seconds that the first program has to come, however short the sidecar lingers later."""
_LOOK_EVERY = 1.0
"""Seconds between looks whether the socket is still our own."""
_AT_ONCE = 24
"""Requests that are open where the server is near. With fewer than a sidecar of one program has, a request of
a program that asks for little waits behind fewer of one that asks for thousands."""
_CREDENTIALS = struct.Struct("3i")
"""Linux's `struct ucred`: process, user, group."""
_UPGRADED = (
    "tinker-sidecar was upgraded to a version with another protocol while this program ran: start it again"
)
_UNTAKEN_BYTES = 1 << 30
"""Of results that programs have not taken. Each may leave its share of them here: no further ones are fetched
for it then, so one that is stopped does not take the memory of the others."""


class Hub:
    """The sidecar in `folder`, which ends `linger` seconds after the last program has left."""

    def __init__(self, folder: str, linger: float) -> None:
        self._folder = Path(folder)
        for left in self._folder.iterdir():
            if left.is_dir():
                rmtree(left, ignore_errors=True)  # Of a sidecar that was killed.
        self._linger = linger
        self._doors = Doors()
        self._accounts = Accounts(partial(Pace, least=_AT_ONCE))
        self._seats: dict[int, tuple[Attach, ServedEngine]] = {}
        """By the number that a program has here."""
        self._numbers = count(1)
        self._ends = asyncio.Event()
        self._nobody: asyncio.TimerHandle | None = None
        set_up_logging(self._outboxes)

    async def run(self, has_started: asyncio.Event) -> None:
        """Let programs attach until it is time to end."""
        path = self._folder / ATTACH
        server = await asyncio.start_unix_server(self._welcome, path, limit=LONGEST_LINE)
        own = path.stat()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._ends.set)
        self._wait_for_somebody(max(_FIRST, self._linger))
        has_started.set()
        while not self._ends.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY):
                    await self._ends.wait()
            if not _is_same_file(path, own):
                logger.warning("somebody has removed the shared sidecar's socket: another takes over")
                break
        server.close()
        if _is_same_file(path, own):
            path.unlink()
        for _, served in self._seats.values():
            served.stop_being_watched()
        self._end_if_deserted()

    def is_busy(self) -> bool:
        """Whether any program has a request under way."""
        return any(served.engine.books.is_busy() for _, served in self._seats.values())

    def _wait_for_somebody(self, seconds: float) -> None:
        """Nobody is attached."""
        self._nobody = asyncio.get_running_loop().call_later(seconds, self._end_if_deserted)

    def _end_if_deserted(self) -> None:
        """End, unless somebody has come, or comes just now."""
        if self._seats:
            return
        try:
            with (self._folder / LOCK).open("rb") as file:
                lock(file.fileno())
                # Whoever waits for the lock finds that its file is gone, and makes a new folder.
                rmtree(self._folder, ignore_errors=True)
        except BlockingIOError:
            self._wait_for_somebody(self._linger)
            return
        except OSError:
            pass  # The folder is gone.
        self._ends.set()

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one program until it is gone."""
        try:
            pid, user, _ = _peer(writer)
            if user != os.geteuid():
                return
            try:
                async with asyncio.timeout(_PATIENCE):
                    asked = msgspec.json.decode(await reader.readline(), type=Attach)
            except (OSError, TimeoutError, *NONSENSE):
                return  # Gone, slow, or not one of ours.
            await self._serve(pid, asked, reader, writer)
        except OSError as error:
            logger.warning("a program could not be served: %s", error)
        except Exception as error:
            logger.error("unexpected error with an attached program", exc_info=error)
        finally:
            writer.close()

    async def _serve(
        self, pid: int, asked: Attach, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        number = next(self._numbers)
        program.set(number)  # For all that is done from here on, by this task and those that it starts.
        folder, secret = self._folder / str(number), secrets.token_hex(16)
        try:
            folder.mkdir(0o700)
            served = ServedEngine(
                self._doors,
                str(folder),
                secret,
                pid,
                asked.watching,
                borrows=asked.borrows,
                accounts=self._accounts,
            )
        except Exception as error:  # noqa: BLE001  # The program must hear of it, whatever it is.
            writer.write(_line(Attached(error=_described(error))))
            remove_folder(str(folder))
            return
        self._seats[number] = asked, served
        served.engine.attached = self._programs
        self._have_seats_changed()
        try:
            try:
                await served.let_be_watched()
            except Exception as error:  # noqa: BLE001  # As above.
                writer.write(_line(Attached(error=_described(error))))
                return
            writer.write(_line(Attached(os.getpid(), str(folder), secret)))
            if await _until_gone(pid, reader) == EXITING:
                served.shut()
                writer.close()
                with _end_of(pid) as ended:
                    await ended.wait()
        finally:
            del self._seats[number]
            self._have_seats_changed()
            await served.close()
            remove_folder(str(folder))

    def _have_seats_changed(self) -> None:
        take_level(asked.watching for asked, _ in self._seats.values())
        if self._nobody is not None:
            self._nobody.cancel()
            self._nobody = None
        if not self._seats:
            self._wait_for_somebody(self._linger)
        for _, served in self._seats.values():
            served.engine.outbox.bound(_UNTAKEN_BYTES // len(self._seats))

    def _programs(self) -> list[ProgramStats]:
        """Who is attached, and what share of the work each has."""
        counts = [served.engine.books.lately() for _, served in self._seats.values()]
        everything = sum(finished for _, finished in counts)
        return [
            ProgramStats(
                program=served.program,
                command=asked.watching.command,
                in_flight=in_flight,
                finished=finished,
                share=finished / everything if everything else 0.0,
            )
            for (asked, served), (in_flight, finished) in zip(self._seats.values(), counts, strict=True)
        ]

    def _outboxes(self, level: int) -> Iterable[Outbox]:
        """Of those programs that what is being done concerns, and that want to hear of it."""
        numbers, one = concerned.get(), program.get()
        if numbers is None:
            numbers = (one,) if one else self._seats
        seats = filter(None, map(self._seats.get, set(numbers)))
        return [served.engine.outbox for asked, served in seats if wanted_level(asked.watching) <= level]


async def _until_gone(pid: int, reader: asyncio.StreamReader) -> bytes:
    """Until the program has ended or has closed its connection; returns what it said last.

    A process that it has forked may hold the connection open.
    """
    with _end_of(pid) as gone:
        hears = asyncio.create_task(reader.read(1))
        hears.add_done_callback(lambda _: gone.set())
        try:
            await gone.wait()
        finally:
            hears.cancel()
            [said] = await asyncio.gather(hears, return_exceptions=True)
    return said if isinstance(said, bytes) else b""


@contextlib.contextmanager
def _end_of(pid: int) -> Iterator[asyncio.Event]:
    """Set when the program has ended."""
    ended = asyncio.Event()
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        ended.set()
        yield ended
        return
    loop = asyncio.get_running_loop()
    loop.add_reader(watched, ended.set)
    try:
        yield ended
    finally:
        loop.remove_reader(watched)
        os.close(watched)


def _peer(writer: asyncio.StreamWriter) -> tuple[int, int, int]:
    """The process, user and group at the other end, as the system knows them."""
    connection = writer.get_extra_info("socket")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, user, group = _CREDENTIALS.unpack(credentials)
    return pid, user, group


def _is_same_file(path: Path, own: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.lstat(), own)
    except OSError:
        return False


def _line(message: msgspec.Struct) -> bytes:
    return msgspec.json.encode(message) + b"\n"


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def main() -> None:
    """Read the hello from stdin, become nobody's child, and serve."""
    set_up_process()
    try:
        hello = msgspec.json.decode(sys.stdin.buffer.readline(), type=HubHello)
    except msgspec.DecodeError:
        sys.exit("the shared sidecar is started by tinker_client, with TINKER_SUBPROCESS_SAMPLING=shared")
    if hello.protocol != PROTOCOL:
        _say(Started(error=_UPGRADED))
        return
    if os.fork():  # No thread runs yet.
        os._exit(0)
    os.chdir("/")
    uvloop.run(_serve(hello))


async def _serve(hello: HubHello) -> None:
    try:
        http_runtime(besides=ZMQ_THREADS)
        hub = Hub(hello.folder, hello.linger)
        has_started = asyncio.Event()
        running = asyncio.create_task(hub.run(has_started))
        starting = asyncio.create_task(has_started.wait())
        await asyncio.wait([running, starting], return_when=asyncio.FIRST_COMPLETED)
        starting.cancel()
        if running.done():
            running.result()
    except Exception as error:
        _say(Started(error=_described(error)))
        raise
    import_all()  # Programs that are started after an upgrade share it, too.
    spare_the_collector()
    _say(Started())
    tidying = asyncio.create_task(give_back_memory_when_idle(hub.is_busy))
    await running
    tidying.cancel()
    os._exit(0)


def _say(started: Started) -> None:
    """Tell whoever started us, and let go of its pipes."""
    os.write(1, _line(started))
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    os.close(nowhere)


if __name__ == "__main__":
    main()
