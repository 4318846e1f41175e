"""The client of ours behind an official one."""

from __future__ import annotations

import weakref
from typing import Any

from tinker_client.connection.remote import RemoteSession
from tinker_client.official.sdk import Sdk
from tinker_client.queue_state import QueueState
from tinker_client.sampling_client import SamplingClient

__all__ = ["AttachedClient"]


class AttachedClient(SamplingClient):
    """Does an official client's sampling, and tells it of its queue."""

    official: weakref.ref[Any] | None = None
    sdk: Sdk
    base_url: str

    @property
    def sidecar_runs(self) -> bool:
        """Whether there is a sidecar, so that sending to it blocks nobody."""
        return self._sampler.backend.pid is not None

    @property
    def session(self) -> RemoteSession:
        """The session that the official client has, at our engine."""
        return self._sampler.session

    def on_queue_state_change(self, queue_state: QueueState, queue_state_reason: str | None) -> None:
        """Tell the official client, in the words of its SDK."""
        if self.official is not None and (client := self.official()) is not None:
            client.on_queue_state_change(self.sdk.queue_state(queue_state.value), queue_state_reason)
