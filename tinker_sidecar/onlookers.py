"""Whoever looks on at an engine, as the user wants it."""

from __future__ import annotations

import asyncio
import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tinker_sidecar.engine.engine import Engine
from tinker_sidecar.ipc.watching import Watching

if TYPE_CHECKING:
    from tinker_sidecar.recording.recorder import Recorder
    from tinker_sidecar.watch.metrics import MetricsServer
    from tinker_sidecar.watch.trace import TraceFile

__all__ = ["Onlookers", "import_all"]


def import_all() -> None:
    """Import what may be asked for later, when the files on the disk may be those of another version."""
    for module in ("recording.recorder", "watch.gil_watch", "watch.metrics", "watch.trace"):
        importlib.import_module(f"tinker_sidecar.{module}")


class Onlookers:
    """Those of `engine`, whose requests are those of process `program`. They live on its event loop."""

    def __init__(self, engine: Engine, watching: Watching, program: int) -> None:
        self._engine = engine
        self._watching = watching
        self._program = program
        self._metrics: MetricsServer | None = None
        self._trace: TraceFile | None = None
        self._recorder: Recorder | None = None
        self._gil_watch: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Have them look on. What nobody has asked for is not imported either."""
        watching, books = self._watching, self._engine.books
        if watching.metrics:
            from tinker_sidecar.watch.metrics import serve_metrics

            self._metrics = serve_metrics(watching.metrics, self._engine.stats)
        if watching.trace:
            from tinker_sidecar.watch.trace import TraceFile

            self._trace = TraceFile(Path(watching.trace), self._program, watching.command)
            books.observe(self._trace)
        if watching.record:
            from tinker_sidecar.recording.recorder import Recorder

            self._recorder = Recorder(Path(watching.record), watching.record_bytes)
            books.record = self._recorder.record
        # In process nothing of ours runs while the GIL is held: there the client has another process look.
        if watching.who and self._program != os.getpid():
            from tinker_sidecar.watch.gil_watch import GilWatch

            outbox = self._engine.outbox
            watch = GilWatch(
                self._program,
                lambda: outbox.waiting_since,
                lambda: outbox.starved,
                books.span,
                books.until_busy,
            )
            books.gil_holders = watch.holders
            self._gil_watch = asyncio.get_running_loop().create_task(watch.run())

    def close(self) -> None:
        """The engine ends: write down what is there, and give back the port."""
        if self._gil_watch is not None:
            self._gil_watch.cancel()
        if self._metrics is not None:
            self._metrics.close()
        if self._trace is not None:
            self._engine.books.tell_unfinished()
            self._trace.close()
        if self._recorder is not None:
            self._engine.books.record = None
            self._recorder.close()

    def abandon(self) -> None:
        """In a forked child: let go of what is the parent's."""
        if self._metrics is not None:
            self._metrics.abandon()
