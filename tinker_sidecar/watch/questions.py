"""What a sidecar is asked on its socket `stats`: one line of JSON. One with its `Stats` is the answer."""

from __future__ import annotations

import msgspec

__all__ = ["ABOUT", "MOST_LISTED", "NONSENSE", "SOCKET", "About", "Question"]

SOCKET = "stats"
"""The socket's name in the sidecar's folder."""
ABOUT = "about"
"""The name of the file beside it which holds an `About`, for when the sidecar itself does not answer."""
MOST_LISTED = 1000
"""An answer lists no more requests than these."""
NONSENSE = (ValueError, msgspec.DecodeError, RecursionError)
"""What reading and decoding raise at a line that is none of ours, or too long."""


class About(msgspec.Struct, frozen=True, kw_only=True):
    """Whose sidecar it is."""

    pid: int
    """The sidecar's own process."""
    program: int
    """The process that it samples for."""
    command: str
    """That process's name, for people to read. Its command line may hold secrets, and is not written down."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants to know."""

    pending: int = 0
    """How many of the requests under way to list, the oldest first."""
