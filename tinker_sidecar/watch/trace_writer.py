"""Writes a trace on a thread of its own, so that a slow disk keeps nobody waiting but that thread."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from queue import SimpleQueue
from time import monotonic, time

import msgspec

from tinker_sidecar import __version__
from tinker_sidecar.logs import engine_logger
from tinker_sidecar.watch.trace_events import RESTARTS, Origin, TraceEvent, microseconds
from tinker_sidecar.watch.trace_files import claim, group_of, identity_of, rotate

__all__ = ["PART_BYTES", "TraceWriter"]

logger = engine_logger(__name__)

PART_BYTES = 64 << 20
"""What a file of a trace may grow to. Viewers open that much at once."""

_LONGEST_COMMAND = 2000
"""Characters of it: whoever reads the first event must find its end."""
_MOST_WAITING = 64
"""Chunks that wait for a slow disk, of a megabyte or a second each. What is more is left out."""
_LAST_WRITES = 2.0
"""Seconds that the end of a process may be put off by: a disk may be as slow as it likes, or hang."""


class TraceWriter:
    """Writes lines to `path`, or to another file beside it if another process writes that one.

    Every file begins with `names`, and with what is repeated. An error ends it: it is logged, `is_over`
    is true from then on, and what has been written stays readable.
    """

    def __init__(
        self, path: Path, program: int, command: str, part_bytes: int, names: Iterable[TraceEvent]
    ) -> None:
        self.is_over = False
        self._path = path
        self._program = program
        self._command = command
        self._part_bytes = part_bytes
        self._names = b"".join(map(_line, names))
        self._file = -1
        self._size = 0
        self._chunks: SimpleQueue[bytearray | None] = SimpleQueue()
        self._leaves_out = False
        self._thread = threading.Thread(target=self._run, name="tinker-trace", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # There are no more threads to be had.
            self._give_up(error)

    def repeat(self, event: TraceEvent) -> None:
        """`event` will be in every file that is begun from now on."""
        self._names += _line(event)

    def write(self, lines: bytearray) -> None:
        """Have the thread write `lines`, which is the writer's own from now on. Never waits."""
        if self._chunks.qsize() < _MOST_WAITING:
            self._chunks.put(lines)
        elif not self._leaves_out:
            self._leaves_out = True
            logger.warning("the disk is too slow for the trace: parts will be missing in %s", self._path)

    def close(self) -> None:
        """End the file, once all is written that can be written within some seconds."""
        self._chunks.put(None)
        if self._thread.ident is not None:
            self._thread.join(_LAST_WRITES)

    def _run(self) -> None:
        """The thread."""
        try:
            self._open()
            while (lines := self._chunks.get()) is not None:
                if self._size + len(lines) > self._part_bytes:
                    self._begin_next()
                self._append(lines)
            self._end()
        except OSError as error:
            self._give_up(error)

    def _open(self) -> None:
        self._path, self._file, broke_off = claim(self._path, self._program)
        logger.info("the trace is written to %s", self._path)
        self._begin()
        if broke_off is not None:
            self._append(_line(self._restart(time() - broke_off)))

    def _begin_next(self) -> None:
        """The file is as large as it may be: keep it under another name, and begin a new one."""
        self._end()
        self._file = rotate(self._path)
        self._begin()

    def _begin(self) -> None:
        self._size = 0
        self._append(b"[" + _line(self._origin()) + self._names)

    def _end(self) -> None:
        """With the last event, which has no comma behind it, and the bracket it is JSON to any reader."""
        self._append(_line(self._origin())[:-1] + b"\n]\n")
        self._close_file()

    def _append(self, lines: bytes | bytearray) -> None:
        view = memoryview(lines)
        while view:
            view = view[os.write(self._file, view) :]
        self._size += len(lines)

    def _give_up(self, error: Exception) -> None:
        self.is_over = True
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        logger.warning("no trace is written to %s any more, sampling goes on: %s", self._path, reason)
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)  # Half a line would be in the way of some viewers.
        self._close_file()
        while not self._chunks.empty():
            self._chunks.get()

    def _close_file(self) -> None:
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = -1

    def _restart(self, ago: float) -> TraceEvent:
        """An engine died about so many seconds ago, and this one has taken over."""
        number, _, category = RESTARTS
        start, dead = microseconds(monotonic() - ago), microseconds(ago)
        return TraceEvent(start, "X", "a dead engine is replaced", self._program, number, category, dur=dead)

    def _origin(self) -> TraceEvent:
        origin = Origin(
            name=self._command[:_LONGEST_COMMAND],
            written_by=f"tinker-sidecar {__version__}",
            process=identity_of(self._program),
            group=group_of(self._program),
            monotonic=monotonic(),
            time=time(),
        )
        args = msgspec.to_builtins(origin)
        return TraceEvent(0, "M", "process_name", self._program, self._program, args=args)


def _line(event: TraceEvent) -> bytes:
    return b"\n" + msgspec.json.encode(event) + b","
