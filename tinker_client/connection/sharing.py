"""Which sessions and samplers the clients of this process share: copies of the same have the same."""

from __future__ import annotations

import weakref

from tinker_client.config import Settings
from tinker_client.connection.backend import Backend
from tinker_client.connection.clone_numbers import (
    SamplerKey,
    numbers_of_a_copy,
    numbers_of_the_original,
    recycle,
)
from tinker_client.connection.remote import RemoteSampler, RemoteSession
from tinker_client.errors import TinkerError
from tinker_sidecar.ipc.protocol import Retry

__all__ = [
    "attach_sampler",
    "attach_session",
    "copy_of_the_parents",
    "create_sampler",
    "create_session",
    "open_sessions",
]

_sessions: weakref.WeakKeyDictionary[Backend, weakref.WeakSet[RemoteSession]] = weakref.WeakKeyDictionary()


def create_session(backend: Backend, settings: Settings) -> RemoteSession:
    """A session that the server has yet to create."""
    with backend.lock:
        return _kept(RemoteSession(backend, settings, None))


def attach_session(backend: Backend, settings: Settings, session_id: str) -> RemoteSession:
    """A session that the server has. All its clients in this process share it, and so one heartbeat."""
    with backend.lock:
        for session in _sessions.get(backend, ()):
            if session.serves(settings, session_id):
                return session
        return _kept(RemoteSession(backend, settings, session_id))


def create_sampler(
    session: RemoteSession, base_model: str | None, model_path: str | None, retry: Retry
) -> RemoteSampler:
    """A new sampler of `session`."""
    with session.backend.lock:
        return RemoteSampler(
            session,
            sampling_session_id=None,
            base_model=base_model,
            model_path=model_path,
            numbers=numbers_of_the_original(),
            retry=retry,
        )


def attach_sampler(
    session: RemoteSession, sampling_session_id: str, base_model: str | None, retry: Retry
) -> RemoteSampler:
    """A sampler that the server has. Clients in this process that are copies and `retry` alike share it."""
    with session.backend.lock:
        for sampler in session.samplers:
            if sampler.serves(sampling_session_id, retry):
                return sampler
        key: SamplerKey = session.settings.base_url, sampling_session_id
        numbers = numbers_of_a_copy(key)
        sampler = RemoteSampler(
            session,
            sampling_session_id=sampling_session_id,
            base_model=base_model,
            model_path=None,
            numbers=numbers,
            retry=retry,
        )
        weakref.finalize(sampler, recycle, key, numbers).atexit = False
        return sampler


def copy_of_the_parents(parent: RemoteSampler, backend: Backend) -> RemoteSampler:
    """In a forked child: the sampler that the parent process has, with numbers of this process's own."""
    info, session_id = parent.known_info(), parent.session.known_session_id()
    if info is None or session_id is None:
        raise TinkerError(
            "this client was forked before the server had confirmed it: call .result() on it before forking"
        )
    session = attach_session(backend, parent.session.settings, session_id)
    return attach_sampler(session, info.sampling_session_id, info.base_model, parent.retry)


def open_sessions(backend: Backend) -> list[RemoteSession]:
    """The sessions that this process has open there."""
    with backend.lock:
        return [session for session in _sessions.get(backend, ()) if session.is_open]


def _kept(session: RemoteSession) -> RemoteSession:
    _sessions.setdefault(session.backend, weakref.WeakSet()).add(session)
    return session
