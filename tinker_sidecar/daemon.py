"""The sidecar of one process, which has started it, and with which it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import msgspec
import uvloop

from tinker_sidecar.ipc.handshake import Greeting, Hello
from tinker_sidecar.processes.exits import remove_folder
from tinker_sidecar.processes.folder_keeper import keep_folder
from tinker_sidecar.processes.parent import watch_parent

__all__ = ["main"]


def main() -> None:
    """Read the parent's hello from stdin, serve until the parent is gone, leave nothing behind."""
    from tinker_sidecar.set_up import set_up_process

    set_up_process()
    try:
        hello = msgspec.json.decode(sys.stdin.buffer.readline(), type=Hello)
    except msgspec.DecodeError:
        sys.exit("the sidecar is started by tinker_client, with TINKER_SUBPROCESS_SAMPLING=1, not by hand")
    _keeper = keep_folder(hello.folder)  # Until this process ends.
    try:
        uvloop.run(_serve(hello))
    finally:
        remove_folder(hello.folder)


async def _serve(hello: Hello) -> None:
    gone = asyncio.Event()
    watch_parent(hello.parent, gone.set, or_stdin=True)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, gone.set)
    try:
        # Imported after the cheap part of start-up has had its chance to fail early.
        from tinker_sidecar.engine.http_runtime import http_runtime
        from tinker_sidecar.idle import give_back_memory_when_idle
        from tinker_sidecar.serving import Doors, ServedEngine
        from tinker_sidecar.set_up import ZMQ_THREADS, set_up_logging, spare_the_collector, take_level

        http_runtime(besides=ZMQ_THREADS)
        served = ServedEngine(
            Doors(), hello.folder, hello.secret, hello.parent, hello.watching, borrows=hello.borrows
        )
    except Exception as error:
        _greet(Greeting(error=f"{type(error).__name__}: {error}"))
        raise
    set_up_logging(lambda _: [served.engine.outbox])
    take_level([hello.watching])
    spare_the_collector()
    _greet(Greeting())
    await served.let_be_watched()
    tidying = asyncio.create_task(give_back_memory_when_idle(served.engine.books.is_busy))
    await gone.wait()
    tidying.cancel()
    # Nobody is left to wait for an orderly end, and requests in flight have no one to go to.
    served.stop_being_watched()
    remove_folder(hello.folder)
    os._exit(0)


def _greet(greeting: Greeting) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(greeting) + b"\n")
    sys.stdout.buffer.flush()
