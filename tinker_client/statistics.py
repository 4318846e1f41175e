"""How this process's sampling goes: all that is known of it, or one line."""

from __future__ import annotations

from tinker_client.config import subprocess_sampling
from tinker_client.connection.backend import Backend
from tinker_client.connection.backends import get_backend, latest_backends
from tinker_client.connection.inspecting import ask_for_stats
from tinker_client.official.installing import installed
from tinker_sidecar import __version__
from tinker_sidecar.ipc.stats import Stats

__all__ = ["Stats", "stats", "status"]

_HICCUP = 3.0
"""Seconds for which a server may be out of reach without a word about it."""


def stats(*, most_requests: int = 1000) -> Stats:
    """What has happened in this process's engine, where requests' time went, and what is under way.

    It is the engine in the sidecar, if there is one, or else that in this process. It covers all clients of
    the process, and those of the official SDK after `install`. Nothing is started for it.

    Parameters
    ----------
    most_requests
        How many of the pending requests to list, the oldest first; 0 or more.

    Raises
    ------
    TypeError, ValueError
        `most_requests` is no such number.

    Returns
    -------
    Stats
        A value that stays as it is. `msgspec.json.encode` makes JSON of it, `to_dict` what `json` takes. If
        the engine does not answer within two seconds it is what the engine said last, and `silent_for`
        is not 0.
    """
    return ask_for_stats(_backend(), 0, most_requests)


def status() -> str:
    """One line: the version, who samples and through what, what is under way, and the last heartbeat.

    The heartbeat's age is that of the session whose server has gone without one for the longest.
    """
    return f"tinker-sidecar {__version__}: {_mode()}; {_engine()}"


def _backend() -> Backend:
    """That of the engine in a sidecar, if there is one; of one in this process, if there is none anywhere."""
    latest = latest_backends()
    if latest:
        return max(latest, key=lambda backend: (backend.is_sidecar, backend.used_at))
    return get_backend(sidecar=subprocess_sampling())


def _mode() -> str:
    router = installed()
    if router is not None and router.enabled and not _backend().is_running:
        return (
            f"tinker {router.sdk.version} will sample through the sidecar, which starts with the first sample"
        )
    if router is not None:
        through = "through the sidecar" if router.enabled else "by itself, as the sidecar did not start"
        return f"tinker {router.sdk.version} samples {through}"
    backend = _backend()
    if not (backend.is_running or backend.is_starting):
        return "tinker_client does not sample now, and the official SDK is not taken over"
    return f"tinker_client samples {_through(backend)}"


def _through(backend: Backend) -> str:
    if not backend.is_sidecar:
        return "in this process"
    return "through a shared sidecar" if backend.is_shared else "through the sidecar"


def _engine() -> str:
    backend = _backend()
    if backend.is_starting:
        return f"its engine is being started, {backend.unanswered} requests wait for it"
    if not backend.is_running:
        return "no sidecar is running"
    now = stats(most_requests=0)
    where = f"sidecar pid {backend.pid}" if backend.is_sidecar else "no sidecar is running"
    if now.attached:
        own = next((program for program in now.attached if program.program == now.program), None)
        share = f", {own.share:.0%} of its work is this one's" if own is not None and own.share else ""
        where += f" with {len(now.attached)} program{'' if len(now.attached) == 1 else 's'}{share}"
    if now.silent_for:
        return f"{where}, does not answer since {now.silent_for:.0f} s"
    count = len(now.sessions)
    unreachable = max((session.unreachable_for for session in now.sessions), default=0.0)
    parts = [where, f"{now.in_flight} in flight"]
    if now.held_back:
        parts.append(f"{now.held_back} more wait for room")
    if now.in_flight:
        parts.append(f"the oldest for {now.oldest:.0f} s")
    finished = now.last_10s.finished
    if finished:
        parts.append(f"{finished / now.last_10s.seconds:.0f} samples/s")
    parts.append(f"{count} session{'' if count == 1 else 's'}")
    if ended := sum(session.has_ended for session in now.sessions):
        parts.append(f"{ended} of them ended by the server")
    if unreachable > _HICCUP:
        parts.append(f"the server does not answer since {unreachable:.0f} s")
    ages = [session.heartbeat_age for session in now.sessions if session.heartbeat_age is not None]
    parts.append(f"last heartbeat {max(ages):.0f} s ago" if ages else "no heartbeat yet")
    return ", ".join(parts)
