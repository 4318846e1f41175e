"""What a local server says it has seen."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from tinker_client.local_server import LocalServer

__all__ = ["newest_session", "sessions"]


def sessions(server: LocalServer) -> dict[str, dict[str, Any]]:
    """The journal of each session, oldest first."""
    with urllib.request.urlopen(server.base_url + "/local/journal") as answer:
        journal: dict[str, dict[str, Any]] = json.load(answer)["sessions"]
    return dict(sorted(journal.items(), key=lambda item: item[1]["created"]))


def newest_session(server: LocalServer) -> dict[str, Any]:
    return list(sessions(server).values())[-1]
