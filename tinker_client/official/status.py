"""One line on how official clients sample."""

from __future__ import annotations

import concurrent.futures
from typing import Any

from tinker_client.connection.backends import get_backend
from tinker_client.connection.remote import RemoteSession
from tinker_client.connection.sharing import open_sessions
from tinker_client.errors import TinkerError
from tinker_client.official.installing import installed
from tinker_sidecar import __version__
from tinker_sidecar.ipc.protocol import Query

__all__ = ["status"]

_PATIENCE = 2.0


def status() -> str:
    """Print, and return, one line: versions, who samples, and the sidecar's pid, sessions and heartbeat.

    The heartbeat's age is that of the session whose server has gone without one for the longest.
    """
    line = f"tinker-sidecar {__version__}: {_mode()}; {_sidecar()}"
    print(line)
    return line


def _mode() -> str:
    router = installed()
    if router is None:
        return "the official SDK is not taken over"
    if not router.enabled:
        return f"tinker {router.sdk.version} samples by itself, as the sidecar did not start"
    return f"tinker {router.sdk.version} samples through the sidecar"


def _sidecar() -> str:
    backend = get_backend(sidecar=True)
    if backend.pid is None:
        return "no sidecar is running"
    sessions = open_sessions(backend)
    count = f"{len(sessions)} session{'' if len(sessions) == 1 else 's'}"
    ages = [age for age in map(_heartbeat_age, sessions) if age is not None]
    heartbeat = f"last heartbeat {max(ages):.0f} s ago" if ages else "no heartbeat yet"
    return f"sidecar pid {backend.pid}, {count}, {heartbeat}"


def _heartbeat_age(session: RemoteSession) -> float | None:
    """Seconds since the server last took this session's heartbeat, if it has and the sidecar says so."""
    answer = session.backend.call(lambda call: Query(call, session.id, "heartbeat"))
    try:
        data: Any = answer.result(_PATIENCE)
    except (TinkerError, concurrent.futures.TimeoutError):
        return None
    return data if isinstance(data, float) else None
