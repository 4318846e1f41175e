"""This program's own local server, started by the first `ServiceClient(base_url="local")`.

Whoever starts it says so in the environment, which the processes that are started later inherit. So a
program's workers share the one server, also those that get no pickled client.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING, NamedTuple

from tinker_client.errors import TinkerError
from tinker_sidecar.processes.interpreter import LOCAL_SERVER

if TYPE_CHECKING:
    from tinker_client.local_server import LocalServer

__all__ = ["ServerAddress", "forget", "keep_through_exec", "server", "server_at", "shutdown"]

_ENGINES = ("tiny", "sim")

_lock = threading.Lock()
_own: LocalServer | None = None
"""The server that this process has started."""
_parents: list[LocalServer] = []
"""In a forked child: its copies of what the parent has, kept, since a destructor would look for a child."""


class ServerAddress(NamedTuple):
    """Where the server is, and the only key that it lets in."""

    base_url: str
    api_key: str


def server() -> ServerAddress:
    """The program's local server, which is started if there is none, with a key that only the program knows.

    `TINKER_SIDECAR_LOCAL_ENGINE` chooses its engine: `tiny` (default) or `sim`. Raises `TinkerError` for
    another one, and `SidecarStartupError` when the server does not start.
    """
    with _lock:
        found = _announced()
        if found is None or not _listens(found):
            found = _started()
        return found


def server_at(base_url: str) -> ServerAddress | None:
    """The program's local server, if it is the one at `base_url`."""
    found = _announced()
    return found if found is not None and found.base_url == base_url else None


def shutdown() -> None:
    """End the local server, if this process has started one."""
    with _lock:
        _end()


def keep_through_exec() -> None:
    """Have the server go on when this process becomes another program, and end with that."""
    if _own is not None:
        _own.keep_through_exec()


def forget() -> None:
    """In a forked child: the server stays the parent's, and goes with it."""
    global _lock, _own
    # A thread of the parent may have held the old one, and is not here to let go of it.
    _lock = threading.Lock()
    if _own is not None:
        _parents.append(_own)
        _own = None


def _started() -> ServerAddress:
    global _own
    import secrets

    from tinker_client.local_server import start_local_server

    _end()  # It no longer listens.
    key = "tml-" + secrets.token_urlsafe(32)
    _own = start_local_server(_engine(), api_key=key)
    os.environ[LOCAL_SERVER] = f"{_own.base_url} {key}"
    return ServerAddress(_own.base_url, key)


def _announced() -> ServerAddress | None:
    base_url, _, key = os.environ.get(LOCAL_SERVER, "").partition(" ")
    return ServerAddress(base_url, key) if key else None


def _listens(server: ServerAddress) -> bool:
    """Not once it has ended: it goes with who started it, whom a process in the background may outlive."""
    from urllib.parse import urlsplit

    parts = urlsplit(server.base_url)
    try:
        socket.create_connection((parts.hostname, parts.port or 0), timeout=1).close()
    except OSError:
        return False
    return True


def _engine() -> str:
    engine = os.environ.get("TINKER_SIDECAR_LOCAL_ENGINE", "").strip().lower() or _ENGINES[0]
    if engine not in _ENGINES:
        raise TinkerError(f"TINKER_SIDECAR_LOCAL_ENGINE must be {' or '.join(_ENGINES)}, got {engine!r}")
    return engine


def _end() -> None:
    global _own
    ended, _own = _own, None
    if ended is not None:
        os.environ.pop(LOCAL_SERVER, None)
        ended.close()
