"""This process's own local server, started by the first `ServiceClient(base_url="local")`."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinker_sidecar.local_server.launch import LocalServer

__all__ = ["base_url", "forget", "shutdown"]

_lock = threading.Lock()
_server: LocalServer | None = None


def base_url() -> str:
    """The URL of the local server, which is started if there is none.

    `TINKER_SIDECAR_LOCAL_ENGINE` chooses its engine: `tiny` (default) or `sim`.
    """
    global _server
    with _lock:
        if _server is None:
            from tinker_sidecar.local_server.launch import start_local_server

            _server = start_local_server(os.environ.get("TINKER_SIDECAR_LOCAL_ENGINE", "tiny"))
        return _server.base_url


def shutdown() -> None:
    """End the local server, if this process has one."""
    global _server
    with _lock:
        server, _server = _server, None
    if server is not None:
        server.close()


def forget() -> None:
    """In a forked child: the server stays the parent's, and goes with it."""
    global _lock
    _lock = threading.Lock()
