"""This process's backends: one for the engine in a sidecar, one for the engine on a thread, when needed."""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401 - uvloop wants it, and first use may be in an exit handler: too late.
import os
import sys
import threading
from collections.abc import Callable

from tinker_client import callbacks, local
from tinker_client.config import SHARED, SubprocessSampling, number, sidecar_group
from tinker_client.connection.backend import Backend
from tinker_client.connection.hosting import Host
from tinker_client.errors import SidecarStartupError

__all__ = ["Backend", "fork_count", "get_backend", "latest_backends", "shutdown"]

_CALLBACKS_TIMEOUT = 1.0
"""Seconds that callbacks get at the interpreter's exit."""

_lock = threading.Lock()
_backends: dict[SubprocessSampling, Backend] = {}
_exiting = False
_forks = 0
_http_runtime_lost = False
"""Whether this is a forked child of a process that used wreq, whose thread did not come along: its
requests would wait for ever. An engine of such a process runs in a sidecar, whatever was asked for."""
_inherited: list[object] = []
"""A forked child's copies of its parent's backends, kept: destructors would touch what is the parent's."""


def get_backend(*, sidecar: SubprocessSampling | None) -> Backend:
    """This process's backend: the engine on a thread, in its own sidecar, or in one that is shared.

    None, for want of a wish, is on a thread. Raises `TinkerError` for a malformed `TINKER_SIDECAR_GROUP`.
    """
    if sidecar == SHARED:
        sidecar_group()
    with _lock:
        sidecar = sidecar or _http_runtime_lost
        backend = _backends.get(sidecar)
        if backend is None:
            backend = _backends[sidecar] = Backend(_HOSTS[sidecar], where=sidecar)
        return backend


def latest_backends() -> list[Backend]:
    """Those that have an engine, or will in a moment; if none has, those that had until it was unused."""
    with _lock:
        backends = list(_backends.values())
    running = [backend for backend in backends if backend.is_running or backend.is_starting]
    return running or [backend for backend in backends if backend.past is not None]


def fork_count() -> int:
    """How many forks lie between this process and the first: what an earlier one opened is not ours."""
    return _forks


def shutdown() -> None:
    """End this process's sidecar, its in-process engine and its local server, if there are any.

    What is pending fails with `SidecarError`. Clients stay usable: the next call starts anew. A program
    need not call this: it happens at exit.
    """
    with _lock:
        # They stay in the table: clients hold on to them, and may start them anew.
        backends = list(_backends.values())
    for backend in backends:
        backend.close()
    local.shutdown()


def _sidecar_host(backend: Backend) -> Host:
    from tinker_sidecar.system.support import why_no_sidecar

    reason = why_no_sidecar()
    if reason is not None:
        raise SidecarStartupError(reason)
    # Only then: on Windows this import fails.
    from tinker_client.connection.sidecar import SidecarHost
    from tinker_client.connection.sidecar_process import SidecarProcess

    return SidecarHost(backend, SidecarProcess(backend.watching))


def _shared_host(backend: Backend) -> Host:
    from tinker_sidecar.system.support import why_not_shared

    if not backend.has_fallen_back and (lacking := why_not_shared()) is not None:
        backend.fall_back(lacking)
    if backend.has_fallen_back:
        return _sidecar_host(backend)
    from tinker_client.connection.meeting_place import NotSharedError
    from tinker_client.connection.shared_sidecar import SharedSidecar
    from tinker_client.connection.sidecar import SidecarHost

    linger = number("TINKER_SIDECAR_LINGER", 5.0, "seconds, such as 5")
    try:
        shared = SharedSidecar(backend.watching, sidecar_group(), linger, is_exiting=lambda: _exiting)
        return SidecarHost(backend, shared)
    except NotSharedError as reason:
        backend.fall_back(str(reason))
        return _sidecar_host(backend)


def _in_process_host(backend: Backend) -> Host:
    if _exiting:
        # The HTTP library's threads must not be at work when the interpreter ends, which aborts the process,
        # and nothing runs after the last exit handler to see to that.
        return _sidecar_host(backend)
    from tinker_client.connection.in_process import InProcessHost

    return InProcessHost(backend)


_HOSTS: dict[SubprocessSampling, Callable[[Backend], Host]] = {
    False: _in_process_host,
    True: _sidecar_host,
    SHARED: _shared_host,
}


def _at_exit() -> None:
    """Handlers that were registered before this package was imported are yet to come, and may sample.

    The local server is left to them: it ends with this process.
    """
    global _exiting
    _exiting = True
    try:  # Not `suppress`, whose end is Python, too, which a second Ctrl-C may interrupt.
        callbacks.settle(_CALLBACKS_TIMEOUT)
        with _lock:
            backends = list(_backends.values())
        for backend in backends:
            backend.close(at_exit=True)
    except KeyboardInterrupt:
        pass  # Whatever is not closed by then ends with this process.


def _after_fork_in_child() -> None:
    global _lock, _exiting, _forks, _http_runtime_lost
    _forks += 1
    _http_runtime_lost = _http_runtime_lost or "wreq" in sys.modules
    _lock = threading.Lock()
    _exiting = False
    _inherited.extend(_backends.values())
    parents = list(_backends.values())
    _backends.clear()
    local.forget()
    for backend in parents:
        backend.abandon()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
