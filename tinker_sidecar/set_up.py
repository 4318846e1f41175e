"""What every sidecar does with its process before it serves anybody."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import signal
from collections.abc import Callable, Iterable

from tinker_sidecar.engine.outbox import Outbox
from tinker_sidecar.ipc.protocol import LogLine
from tinker_sidecar.ipc.watching import Watching
from tinker_sidecar.system import schedule_as_batch
from tinker_sidecar.system.descriptors import allow_many_descriptors

__all__ = [
    "ZMQ_THREADS",
    "set_up_logging",
    "set_up_process",
    "spare_the_collector",
    "take_level",
    "wanted_level",
]

ZMQ_THREADS = 2
"""That libzmq will start."""


def set_up_process() -> None:
    """Signals, scheduling and descriptors."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the user's program.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # A program that ignores it has its children do so, too.
    faulthandler.enable()
    schedule_as_batch()
    allow_many_descriptors()


def spare_the_collector() -> None:
    """Collect garbage less often: by default it looks at thousands of requests in flight again and again."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


class _Forwarder(logging.Handler):
    """Sends log records to the handlers of the programs that they concern."""

    def __init__(self, outboxes: Callable[[int], Iterable[Outbox]]) -> None:
        super().__init__()
        self._formatter = logging.Formatter()
        self._outboxes = outboxes
        self._loop = asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + self._formatter.formatException(record.exc_info)
        event = LogLine(record.name, record.levelno, message)
        for outbox in self._outboxes(record.levelno):
            self._loop.call_soon_threadsafe(outbox.event, event)


def set_up_logging(outboxes: Callable[[int], Iterable[Outbox]]) -> None:
    """Lines of ours go to the `outboxes` of programs that want that level, whose own settings decide what
    becomes of them.
    """
    handler = _Forwarder(outboxes)
    handler.addFilter(lambda record: record.name.startswith("tinker_sidecar"))
    last_words = logging.StreamHandler()
    last_words.setLevel(logging.WARNING)
    logging.basicConfig(level=logging.WARNING, handlers=[handler, last_words])
    logging.getLogger("zmq.auth").setLevel(logging.WARNING)  # Its debug lines hold the secret.


def wanted_level(watching: Watching) -> int:
    """From which level on a program wants to hear of it."""
    return watching.log_level or (logging.DEBUG if watching.debug else logging.INFO)


def take_level(programs: Iterable[Watching]) -> None:
    """Log what the one of these programs wants that wants most."""
    logging.getLogger("tinker_sidecar").setLevel(min(map(wanted_level, programs), default=logging.INFO))
