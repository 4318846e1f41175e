"""The API of another server, with everything passed on as it is: for recording in front of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinker_sidecar.recording.forwarding import Upstream, open_upstream

if TYPE_CHECKING:
    from tinker_sidecar.local_server.recording_layer import RecordingLayer

__all__ = ["ForwardedApi"]


class ForwardedApi:
    """That of the server at `base_url`. Its sessions, limits and errors are that server's."""

    def __init__(self, base_url: str, recording: RecordingLayer | None) -> None:
        self._upstream: Upstream = open_upstream(base_url)
        self._recording = recording
        self.app = self._upstream if recording is None else recording.around(self._upstream)

    async def keep_house(self) -> None:
        """Nothing: the server behind this one does."""

    def close(self) -> None:
        """Nothing is parked here."""

    async def finish(self) -> None:
        """No more requests will come."""
        await self._upstream.close()
        if self._recording is not None:
            self._recording.close()
