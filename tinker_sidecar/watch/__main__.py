"""`python -m tinker_sidecar.watch PID`: looks at who holds the GIL of a program whose engine is in process.

That engine starts it, feeds its standard input with signs of life, and logs what it writes to its standard
output. In process nobody else can look: while the GIL is held, nothing of ours runs there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys

import msgspec

from tinker_sidecar.ipc.stats import GilHolder
from tinker_sidecar.processes.parent import watch_parent
from tinker_sidecar.watch.feed import Feed, Finding
from tinker_sidecar.watch.gil_watch import GilWatch

_STDIN, _STDOUT = 0, 1
_TELL_EVERY = 1.0


class _Teller(logging.Handler):
    """Has log lines logged by the program."""

    def emit(self, record: logging.LogRecord) -> None:
        _tell(Finding(record.levelno, record.name, record.getMessage()))


def main() -> None:
    """Watch the program until it ends, or closes our standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the user's program.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # A program that ignores it has its children do so, too.
    if len(sys.argv) != 2:
        sys.exit("it is started by tinker_client, when the GIL is held for long, not by hand")
    logging.basicConfig(level=logging.INFO, handlers=[_Teller()])
    asyncio.run(_watch(int(sys.argv[1])))


async def _watch(program: int) -> None:
    gone = asyncio.Event()
    feed = Feed()
    watch_parent(program, gone.set)
    asyncio.get_running_loop().add_reader(_STDIN, _take, feed, gone)
    spans: list[tuple[str, str, float, float, str]] = []

    def span(lane: str, place: str, start: float, end: float, *, thread: str) -> None:
        spans.append((lane, place, start, end, thread))

    watch = GilWatch(program, feed.waiting_since, feed.starved, span)
    watching = asyncio.create_task(watch.run())
    told: list[GilHolder] = []
    while not gone.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TELL_EVERY):
                await gone.wait()
        # While the program does not run it reads nothing either, and a full pipe would stop us.
        if feed.waiting_since() is None and (holders := watch.holders()) != told:
            told = holders
            _tell(Finding(holders=holders, spans=spans))
            spans.clear()
    watching.cancel()


def _take(feed: Feed, gone: asyncio.Event) -> None:
    signs = os.read(_STDIN, 4096)
    if signs:
        feed.take(signs)
    else:
        asyncio.get_running_loop().remove_reader(_STDIN)
        gone.set()


def _tell(finding: Finding) -> None:
    with contextlib.suppress(BrokenPipeError):  # The program is gone, and so are we in a moment.
        os.write(_STDOUT, msgspec.json.encode(finding) + b"\n")


if __name__ == "__main__":
    main()
