"""Sessions and the sampling sessions within them, kept alive by heartbeats."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from typing import TYPE_CHECKING

from tinker_sidecar.local_server.responses import HttpError
from tinker_sidecar.local_server.served_sampler import ServedSampler

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinker_sidecar.local_server.journal import Journal, SessionLog

__all__ = ["ServedSession", "Sessions"]

_ENDED_REMEMBERED = 10_000


class ServedSession:
    """What `create_session` opens: kept alive by heartbeats, with sampling sessions within it."""

    __slots__ = ("last_heartbeat", "log", "results", "samplers", "session_id")

    def __init__(self, session_id: str, log: SessionLog) -> None:
        self.session_id = session_id
        self.log = log
        self.last_heartbeat = log.created
        self.samplers: dict[int, ServedSampler] = {}
        """By `sampling_session_seq_id`."""
        self.results: dict[str, dict[str, str]] = {}
        """Of requests that are no samples, by request id."""


class Sessions:
    """All live sessions, and the ids of those that have ended."""

    def __init__(self, timeout: float, clock: Callable[[], float], journal: Journal) -> None:
        self._timeout = timeout
        self._clock = clock
        self._journal = journal
        self._live: dict[str, ServedSession] = {}
        self._samplers: dict[str, ServedSampler] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()

    def create(self) -> ServedSession:
        """Open a session, whose first heartbeat is due `timeout` seconds from now."""
        session_id = str(uuid.uuid4())
        session = ServedSession(session_id, self._journal.open(session_id))
        self._live[session_id] = session
        return session

    def session(self, session_id: str) -> ServedSession:
        """Raise HttpError 404 for one that is unknown or has ended."""
        session = self._live.get(session_id)
        if session is None:
            raise HttpError(404, f"session {session_id} is unknown or has ended")
        return session

    def heartbeat(self, session_id: str) -> None:
        """Raise HttpError 410 for a session that has ended, 404 for one that never was."""
        if session_id in self._ended:
            raise HttpError(410, f"session {session_id} has ended: no heartbeat for {self._timeout:g} s")
        session = self.session(session_id)
        session.last_heartbeat = self._clock()
        session.log.heartbeats.append(session.last_heartbeat)

    def create_sampler(
        self, session_id: str, seq_id: int, base_model: str, model_path: str | None
    ) -> ServedSampler:
        """The sampler numbered `seq_id`, created unless a lost answer made the client ask twice."""
        session = self.session(session_id)
        sampler = session.samplers.get(seq_id)
        if sampler is None:
            sampler = ServedSampler(f"{session_id}:sample:{seq_id}", session.log, base_model, model_path)
            if model_path is not None and self._has_saved(model_path):
                sampler.weights = None  # Nothing has been trained.
            session.samplers[seq_id] = sampler
            self._samplers[sampler.sampler_id] = sampler
        return sampler

    def _has_saved(self, path: str) -> bool:
        """Whether a training client of this server was told that its weights are there."""
        session = self._live.get(path.removeprefix("tinker://").partition(":train:")[0])
        return session is not None and any(path == result.get("path") for result in session.results.values())

    def sampler(self, sampler_id: str) -> ServedSampler:
        """Raise HttpError 404 for one that is unknown or whose session has ended."""
        sampler = self._samplers.get(sampler_id)
        if sampler is None:
            raise HttpError(404, f"sampling session {sampler_id} is unknown or its session has ended")
        return sampler

    def expire(self) -> list[ServedSession]:
        """End and return the sessions that have missed their heartbeats."""
        deadline = self._clock() - self._timeout
        expired = [session for session in self._live.values() if session.last_heartbeat < deadline]
        for session in expired:
            self._end(session)
        return expired

    def forget(self) -> list[ServedSession]:
        """Drop and return all sessions, without a memory of them: what a restart does."""
        forgotten = list(self._live.values())
        self._live.clear()
        self._samplers.clear()
        return forgotten

    def _end(self, session: ServedSession) -> None:
        del self._live[session.session_id]
        for sampler in session.samplers.values():
            del self._samplers[sampler.sampler_id]
        self._ended[session.session_id] = None
        if len(self._ended) > _ENDED_REMEMBERED:
            self._ended.popitem(last=False)
