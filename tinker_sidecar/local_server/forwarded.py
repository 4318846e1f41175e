"""The API of another server, with everything passed on as it is: for recording in front of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tinker_sidecar.local_server.engines.upstream_server import UpstreamError, UpstreamServer
from tinker_sidecar.recording.forwarding import open_upstream

if TYPE_CHECKING:
    from tinker_sidecar.local_server.recording_layer import RecordingLayer

__all__ = ["ForwardedApi", "why_silent"]

_PATIENCE = 5.0
"""Seconds in which a server is to answer the first question."""


class ForwardedApi:
    """That of the server at `base_url`. Its sessions, limits and errors are that server's."""

    def __init__(self, base_url: str, recording: RecordingLayer | None) -> None:
        upstream = open_upstream(base_url)
        self._recording = recording
        self.app = upstream if recording is None else recording.around(upstream)

    async def keep_house(self) -> None:
        """Nothing: the server behind this one does."""

    def close(self) -> None:
        """Nothing is parked here."""

    async def finish(self) -> None:
        """No more requests will come."""
        if self._recording is not None:
            self._recording.close()


async def why_silent(base_url: str) -> str | None:
    """Why the server at `base_url` does not answer, whatever it would say; None if it does."""
    server = UpstreamServer("a Tinker server", base_url)
    try:
        async with asyncio.timeout(_PATIENCE):
            await server.get("/api/v1/healthz")
    except TimeoutError:
        return f"has not answered within {_PATIENCE:.0f} s"
    except UpstreamError as error:
        return str(error) if str(error).startswith("does not answer") else None
    finally:
        await server.close()
    return None
