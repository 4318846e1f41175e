"""Writes results to a recording on a thread of its own, so that a slow disk keeps nobody waiting."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import threading
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NamedTuple

from tinker_sidecar.logs import engine_logger
from tinker_sidecar.recording.asked import asked_in
from tinker_sidecar.recording.database import RecordingError, open_for_writing

__all__ = ["Record", "RecordWriter"]

logger = engine_logger(__name__)

_MOST_AT_ONCE = 256
"""Results in a transaction: what a full disk may take with it."""
_MOST_WAITING = 256 << 20
"""Bytes that wait for a slow disk. What is more is left out."""
_LAST_WRITES = 5.0
"""Seconds that the end of a process may be put off by."""

_INSERT_MODEL = "INSERT OR IGNORE INTO models (name) VALUES (?)"
_INSERT_REQUEST = "INSERT OR IGNORE INTO requests VALUES (?, ?, ?)"
_INSERT_RESULT = (
    "INSERT OR IGNORE INTO results (key, model, asked, took, origin, result) VALUES (?, ?, ?, ?, ?, ?)"
)


class Record(NamedTuple):
    """A request and its result."""

    body: bytes
    """The JSON that `asample` was asked with."""
    model: str
    """The base model's name; "" where it is not known."""
    asked: float
    """When, in seconds since 1970."""
    took: float
    """Seconds from then until the result was there, without what the client had to wait for its turn."""
    origin: str
    """What the server calls the request. The same result comes twice where an engine died over it."""
    result: bytes
    """An encoded `SampleResult`."""


class RecordWriter:
    """Adds to the recording in `folder`. An error ends it: it is logged, and sampling goes on."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._records: SimpleQueue[Record | None] = SimpleQueue()
        self._added = self._written = 0
        """Bytes, each counted by one thread alone."""
        self._leaves_out = False
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="tinker-recording", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # There are no more threads to be had.
            self._give_up(str(error))

    @property
    def waiting(self) -> int:
        """Bytes that are not on the disk yet."""
        return self._added - self._written

    def add(self, record: Record) -> None:
        """Have the thread write `record`. Never waits."""
        if self._is_over:
            return
        if self.waiting <= _MOST_WAITING:
            self._added += len(record.body) + len(record.result)
            self._records.put(record)
        elif not self._leaves_out:
            self._leaves_out = True
            logger.warning(
                "the disk is too slow for the recording: results will be missing in %s", self._folder
            )

    def close(self) -> None:
        """Write what is there still, within some seconds, and end the thread."""
        self._records.put(None)
        if self._thread.ident is not None:
            self._thread.join(_LAST_WRITES)

    def _run(self) -> None:
        """The thread. The connection is its alone: in a forked child nobody has it, so nobody closes it."""
        try:
            connection = open_for_writing(self._folder, self._max_bytes)
            try:
                logger.info("results are recorded in %s", self._folder)
                while records := self._next():
                    self._write(connection, records)
                # The last one to leave makes it a single file, which a folder without write access may hold.
                with contextlib.suppress(sqlite3.OperationalError):
                    connection.execute("PRAGMA journal_mode = DELETE")
            finally:
                connection.close()
        except (RecordingError, sqlite3.Error) as error:
            self._give_up(self._reason(error))

    def _next(self) -> list[Record]:
        """What there is to write now, once there is something; nothing at the end."""
        records = []
        record = self._records.get()
        with contextlib.suppress(Empty):
            while record is not None:
                records.append(record)
                if len(records) == _MOST_AT_ONCE:
                    return records
                record = self._records.get_nowait()
            if records:
                self._records.put(None)  # To be found again when these are written.
        return records

    def _write(self, connection: sqlite3.Connection, records: list[Record]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        for record in records:
            try:
                asked = asked_in(record.body)
            except (ValueError, OverflowError):
                continue  # A server has answered it all the same: whatever it is, it is not ours to judge.
            connection.execute(_INSERT_REQUEST, (asked.prompt, asked.key, asked.parameters.decode()))
            connection.execute(_INSERT_MODEL, (record.model,))
            times = record.asked, record.took
            origin = _number(record.origin)
            connection.execute(_INSERT_RESULT, (asked.key, record.model, *times, origin, record.result))
        connection.execute("COMMIT")
        self._written += sum(len(record.body) + len(record.result) for record in records)

    def _reason(self, error: Exception) -> str:
        if isinstance(error, sqlite3.Error) and error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            return f"it has the {self._max_bytes:,} bytes that it may have, or the disk is full"
        return str(error)

    def _give_up(self, reason: str) -> None:
        self._is_over = True
        logger.warning("nothing is recorded in %s any more, sampling goes on: %s", self._folder, reason)
        with contextlib.suppress(Empty):
            while True:
                self._records.get_nowait()


def _number(origin: str) -> int:
    """A hash that SQLite can take for an integer."""
    return int.from_bytes(hashlib.blake2b(origin.encode(), digest_size=8).digest(), "little", signed=True)
