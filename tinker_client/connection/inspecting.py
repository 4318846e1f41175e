"""Asking an engine about itself."""

from __future__ import annotations

import os
import time
import weakref
from functools import partial
from time import monotonic
from typing import Any, Literal

import msgspec

from tinker_client.connection.backend import Backend
from tinker_client.errors import TinkerError
from tinker_client.futures import InterruptibleFuture
from tinker_client.running_loop import runs_event_loop
from tinker_client.types._checks import as_int
from tinker_sidecar import __version__
from tinker_sidecar.ipc.protocol import Inspect, Message
from tinker_sidecar.ipc.stats import ProcessStats, Stats, Traffic

__all__ = ["ask_for_request_id", "ask_for_stats", "ask_for_traffic", "traffic_of"]

_PATIENCE = 2.0
"""Seconds until an engine counts as one that does not answer: it does so at once."""
_PATIENCE_ON_A_LOOP = 0.1
"""The same where waiting holds up an event loop."""


class _Past:
    """What an engine has said last."""

    stats: Stats | None = None
    before: Traffic | None = None
    """What had gone through engines before that one."""
    silent_since: float | None = None
    """When it was first asked without an answer, by `monotonic`."""


# Prepares the type. msgspec does that on first use otherwise, and crashes if threads do so at the same time.
msgspec.msgpack.Decoder(Stats)

_pasts: weakref.WeakKeyDictionary[Backend, _Past] = weakref.WeakKeyDictionary()


def ask_for_request_id(backend: Backend, request: int) -> str | None:
    """What the server calls `request`; None if the engine does not know, or does not answer in time.

    An event loop is not held up for long.
    """
    patience = _PATIENCE_ON_A_LOOP if runs_event_loop() else _PATIENCE
    try:
        answer: str | None = _asked(backend, "request_id", request).result(patience)
    except (TinkerError, TimeoutError):
        return None
    return answer


def ask_for_stats(backend: Backend, sampler: int, most_requests: int) -> Stats:
    """Of all that the engine does, or of one sampler; with at most so many of the pending requests.

    Raises `TypeError` or `ValueError` where that is no number of requests.

    Starts no engine. One that does not answer within two seconds is described as it was when it last did.
    """
    most_requests = as_int("most_requests", most_requests, "an int, 0 or more", (0, 2**31 - 1))
    past = _pasts.setdefault(backend, _Past())
    # Before the question: while that is unanswered the engine does not end.
    before = None if sampler else backend.past
    asked_at = monotonic()
    try:
        if backend.is_starting:
            raise TimeoutError  # It could not answer before it runs.
        answer = None
        if backend.is_running:
            answer = _asked(backend, "stats", sampler, most_requests).result(_PATIENCE)
    except (TinkerError, TimeoutError):
        if past.silent_since is None:
            past.silent_since = asked_at
        stats = (past.stats if past.before is before else None) or _nothing(backend)
        return _completed(stats, backend, before, silent_for=monotonic() - past.silent_since)
    past.silent_since = None
    if answer is None:
        before = None if sampler else backend.past  # It may have ended since.
        return _completed(_nothing(backend), backend, before, silent_for=0.0)
    stats = msgspec.convert(answer, Stats)
    if not sampler:
        past.stats, past.before = stats, before
    return _completed(stats, backend, before, silent_for=0.0)


def ask_for_traffic(backend: Backend) -> InterruptibleFuture[Any]:
    """What went through its engine, for `traffic_of`. Raises `SidecarError`."""
    return _asked(backend, "stats", 0)


def traffic_of(answer: Any) -> Traffic:
    """What has gone through an engine since its start."""
    return msgspec.convert(answer, Stats).since_start


def _asked(
    backend: Backend, what: Literal["stats", "request_id"], number: int, most_requests: int = 0
) -> InterruptibleFuture[Any]:
    return backend.call(partial(_message, what, number, most_requests))


def _message(what: Literal["stats", "request_id"], number: int, most_requests: int, call: int) -> Message:
    return Inspect(call, what, number, most_requests)


def _completed(stats: Stats, backend: Backend, before: Traffic | None, *, silent_for: float) -> Stats:
    """With what is known on this side."""
    return msgspec.structs.replace(
        stats,
        since_start=stats.since_start if before is None else before + stats.since_start,
        restarts=backend.restarts,
        held_back=backend.held_back,
        silent_for=silent_for,
    )


def _host(backend: Backend) -> Literal["sidecar", "shared sidecar", "in process"]:
    if backend.is_shared:
        return "shared sidecar"
    return "sidecar" if backend.is_sidecar else "in process"


def _nothing(backend: Backend) -> Stats:
    """Of an engine that does not run, or has never answered."""
    none = Traffic(seconds=0.0)
    return Stats(
        version=__version__,
        host=_host(backend),
        program=os.getpid(),
        time=time.time(),
        uptime=0.0,
        in_flight=0,
        in_flight_by_stage={},
        oldest=0.0,
        since_start=none,
        last_10s=none,
        last_60s=none,
        sessions=[],
        samplers=[],
        process=ProcessStats(
            pid=backend.pid or os.getpid(), cpu_seconds=0.0, rss_bytes=0, threads=0, connections=0
        ),
    )
