"""This process's own local server, started by the first `ServiceClient(base_url="local")`."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from tinker_client.errors import TinkerError

if TYPE_CHECKING:
    from tinker_client.local_server import LocalServer

__all__ = ["forget", "running", "server", "shutdown"]

_ENGINES = ("tiny", "sim")

_lock = threading.Lock()
_server: LocalServer | None = None


def server() -> LocalServer:
    """The local server, which is started if there is none, with a key that only this process knows.

    `TINKER_SIDECAR_LOCAL_ENGINE` chooses its engine: `tiny` (default) or `sim`. Raises `TinkerError` for
    another one, and `SidecarStartupError` when the server does not start.
    """
    global _server
    with _lock:
        if _server is None:
            import secrets

            from tinker_client.local_server import start_local_server

            _server = start_local_server(_engine(), api_key="tml-" + secrets.token_urlsafe(32))
        return _server


def running() -> LocalServer | None:
    """The local server of this process, or of the one that it was forked from, if there is one."""
    return _server


def _engine() -> str:
    engine = os.environ.get("TINKER_SIDECAR_LOCAL_ENGINE", "").strip().lower() or _ENGINES[0]
    if engine not in _ENGINES:
        raise TinkerError(f"TINKER_SIDECAR_LOCAL_ENGINE must be {' or '.join(_ENGINES)}, got {engine!r}")
    return engine


def shutdown() -> None:
    """End the local server, if this process has one."""
    global _server
    with _lock:
        ended, _server = _server, None
    if ended is not None:
        ended.close()


def forget() -> None:
    """In a forked child: the server stays the parent's, and goes with it."""
    global _lock
    # A thread of the parent may have held the old one, and is not here to let go of it.
    _lock = threading.Lock()
