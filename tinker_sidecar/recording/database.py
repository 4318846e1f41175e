"""The file that a recording is: a SQLite database, its format and its version."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

__all__ = ["FILE", "FORMAT", "RecordingError", "open_for_reading", "open_for_writing"]

FILE = "recording.sqlite"
"""Its name in the folder that the user names."""

FORMAT = 1
"""Raised whenever a reader of today would misread what is written. Written to SQLite's `user_version`."""

_APPLICATION = 0x746B7263
"""Tells a recording from other databases: SQLite's `application_id`."""

_PAGE_BYTES = 16384
"""Results of a few kilobytes lie in one page."""

_SQLITE = b"SQLite format 3\0"
"""How a database begins; its pages' size follows."""

_CACHE_KIB = 16 << 10
_LOG_BYTES = 32 << 20
"""What SQLite's log may grow to before it goes into the database."""

_PATIENCE = 30.0
"""Seconds that a process waits for another that writes to the same recording."""

_SCHEMA = (
    # Sorted by prompt, so that the neighbours of a prompt that was never recorded are the nearest ones.
    "CREATE TABLE requests (prompt BLOB, key BLOB, parameters TEXT, PRIMARY KEY (prompt, key)) WITHOUT ROWID",
    # `asked` is in seconds since 1970, `took` in seconds. `origin` tells a result that comes twice.
    """CREATE TABLE results (id INTEGER PRIMARY KEY, key BLOB, model TEXT, asked REAL, took REAL,
    origin INTEGER UNIQUE, result BLOB)""",
    "CREATE TABLE models (id INTEGER PRIMARY KEY, name TEXT UNIQUE)",
    "CREATE INDEX results_of ON results (key, model, asked, id)",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {FORMAT}",
)


class RecordingError(Exception):
    """A folder has no recording that this version can read, or continue. One line, for the user."""


def open_for_writing(folder: Path, max_bytes: int) -> sqlite3.Connection:
    """The recording in `folder`, which is made if there is none, and may grow to `max_bytes`.

    Raises `RecordingError`.
    """
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _check_end(path)
        # Prompts and completions are nobody else's business.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
    except OSError as error:
        raise RecordingError(f"cannot record in {folder}: {error.strerror}") from None
    except sqlite3.Error as error:
        raise RecordingError(f"cannot record in {folder}: {error}") from None
    try:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        connection.execute("BEGIN EXCLUSIVE")
        if _numbers(connection) == (0, 0) and not _has_tables(connection):
            for statement in _SCHEMA:
                connection.execute(statement)
        connection.execute("COMMIT")
        _check(connection, folder)
        # A writer that is killed then leaves the database whole, and one that writes keeps no reader waiting.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        # Prompts come in no order, so that new ones change pages all over the file: fewer of them twice.
        connection.execute(f"PRAGMA cache_size = {-_CACHE_KIB}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_BYTES // _PAGE_BYTES}")
        connection.execute(f"PRAGMA max_page_count = {max(1, max_bytes // _PAGE_BYTES)}")
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error):
            raise RecordingError(f"cannot record in {folder}: {error}") from None
        raise
    return connection


def open_for_reading(folder: Path) -> sqlite3.Connection:
    """The recording in `folder`. Raises `RecordingError`."""
    path = folder / FILE
    if not path.is_file():
        raise RecordingError(f"{folder} has no recording: there is no {FILE} in it")
    try:
        _check_end(path)
        connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise _unreadable(folder, error) from None
    try:
        _check(connection, folder)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_end(path: Path) -> None:
    """That the last page is whole, which SQLite takes for granted. While it is written, its log tells."""
    if any(map(Path.exists, _logs(path))) or not path.exists():
        return
    with path.open("rb") as file:
        head = file.read(18)
    page_bytes = int.from_bytes(head[16:18], "big")
    if head.startswith(_SQLITE) and page_bytes == _PAGE_BYTES and path.stat().st_size % page_bytes:
        raise RecordingError(f"the recording in {path.parent} cannot be read: the end of {FILE} is missing")


def _logs(path: Path) -> list[Path]:
    return [path.with_name(path.name + suffix) for suffix in ("-wal", "-journal")]


def _check(connection: sqlite3.Connection, folder: Path) -> None:
    """That the first page makes sense, that none is missing, and that the format is known."""
    try:
        application, version = _numbers(connection)
        has_tables = _has_tables(connection)
    except sqlite3.Error as error:
        raise _unreadable(folder, error) from None
    if application != _APPLICATION or not has_tables:
        raise RecordingError(f"{folder / FILE} is no recording of tinker-sidecar")
    if version > FORMAT:
        raise RecordingError(
            f"the recording in {folder} has format {version}; this version of tinker-sidecar knows"
            f" formats up to {FORMAT}: use a newer one"
        )


def _unreadable(folder: Path, error: Exception) -> RecordingError:
    log, _ = _logs(folder / FILE)
    if log.exists() and not os.access(folder, os.W_OK):
        error = RecordingError(
            f"who recorded it was killed, and {log.name} has its last results:"
            " once, it must be opened where it may be written to"
        )
    return RecordingError(f"the recording in {folder} cannot be read: {error}")


def _numbers(connection: sqlite3.Connection) -> tuple[int, int]:
    [[application]] = connection.execute("PRAGMA application_id")
    [[version]] = connection.execute("PRAGMA user_version")
    return application, version


def _has_tables(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT 1 FROM sqlite_schema").fetchone())
