"""What becomes of a call to an official sampling client."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from tinker_client.config import SubprocessSampling
from tinker_client.connection.backends import fork_count, get_backend
from tinker_client.connection.remote import RemoteSession
from tinker_client.errors import SidecarError, TinkerError
from tinker_client.official.attached_client import AttachedClient
from tinker_client.official.attaching import attach
from tinker_client.official.errors import official_error
from tinker_client.official.futures import OfficialRequest, future_class
from tinker_client.official.requests import understood
from tinker_client.official.sdk import Sdk
from tinker_client.official.starting import Starter
from tinker_client.official.warning import required, warn_once
from tinker_client.running_loop import runs_event_loop
from tinker_client.sampling_request import SamplingRequest

__all__ = ["Router"]

_ATTACHED = "_tinker_sidecar_client"


class Router:
    """Sends requests to official clients through the sidecar, or, where that can't be, the official path.

    An official client gets a client of ours with its first request; it goes with it. Its session's handle,
    and so the heartbeat from the sidecar, lives as long as what the official SDK has for that session.
    """

    def __init__(self, sdk: Sdk, where: SubprocessSampling) -> None:
        self.sdk = sdk
        self.where = where
        self.enabled = True
        self.future_class = future_class(sdk)
        self.starter = Starter(where)
        self._sessions: weakref.WeakKeyDictionary[Any, RemoteSession] = weakref.WeakKeyDictionary()

    def submit(self, client: Any, request: SamplingRequest, wanted: str, official: Callable[[], Any]) -> Any:
        """The future of a request. `official` makes the same call the official way."""
        if not (self.enabled and _is_open(client) and understood(request)):
            return official()
        if getattr(client, "_record_stability_info", False):
            request = msgspec.structs.replace(request, record_stability_info=True)
        future = self.future_class(client, wanted)
        attached = _kept(client)
        if not (self.starter.running if attached is None else attached.sidecar_runs):
            if runs_event_loop():
                self.starter.when_running(partial(self._submit_later, client, future, request, official))
                return future
            try:
                get_backend(sidecar=self.where).start()
            except (SidecarError, OSError) as error:
                self._give_up(error)
                return official()
        return future if self._send(client, attached, future, request) else official()

    def _submit_later(
        self,
        client: Any,
        future: Any,
        request: SamplingRequest,
        official: Callable[[], Any],
        error: Exception | None,
    ) -> None:
        if future.cancelled():
            return
        try:
            if error is not None:
                self._give_up(error)
            if error is not None or not self._send(client, _kept(client), future, request):
                OfficialRequest(official(), future)
        except Exception as refusal:  # noqa: BLE001 - The caller has left; only the future is there to tell.
            future.set_exception(refusal)
        if future.cancelled() and future.work is not None:
            future.work.cancel()

    def _send(
        self, client: Any, attached: AttachedClient | None, future: Any, request: SamplingRequest
    ) -> bool:
        """Whether the request is on its way; if not, it is for the official client to say why."""
        if attached is None:
            try:
                attached = self._attach(client)
            except Exception as error:  # noqa: BLE001 - An unknown version's client may be anything.
                warn_once(f"cannot take over the sampling of {type(client).__name__}: {error!r}")
                return False
        future.base_url = attached.base_url
        try:
            attached._submit(future, request)
        except (TypeError, ValueError):
            return False
        except SidecarError as error:  # It died, and no other takes over.
            self._give_up(error)
            return False
        return True

    def _attach(self, client: Any) -> AttachedClient:
        attached = attach(self.sdk, client, AttachedClient, sidecar=self.where)
        attached.official, attached.sdk = weakref.ref(client), self.sdk
        attached.base_url = attached.session.settings.base_url
        self._sessions[client.holder] = attached.session
        client.__dict__[_ATTACHED] = (fork_count(), attached)
        return attached

    def _give_up(self, error: Exception) -> None:
        """Leave everything to the official SDK from now on; raises `error` if that is forbidden."""
        if required():
            raise official_error(self.sdk.module, error, "") if isinstance(error, TinkerError) else error
        self.enabled = False
        warn_once(f"the sidecar does not start, so sampling is left to the official SDK: {error}")


def _kept(client: Any) -> AttachedClient | None:
    """The client of ours that this process has made for an official one."""
    kept = client.__dict__.get(_ATTACHED)
    return kept[1] if kept is not None and kept[0] == fork_count() else None


def _is_open(client: Any) -> bool:
    """One whose session's holder is closed refuses in its own words."""
    return not getattr(getattr(client, "holder", None), "_closed", False)
