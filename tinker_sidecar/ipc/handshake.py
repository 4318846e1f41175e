"""What parent and sidecar tell each other over the pipes of the child's stdin and stdout."""

from __future__ import annotations

import msgspec

from tinker_sidecar.ipc.watching import Watching

__all__ = ["USERNAME", "Greeting", "Hello", "requests_endpoint", "results_endpoint"]

USERNAME = b"client"


class Hello(msgspec.Struct):
    """Parent to child, one line: the rest of the pipe stays open and its end means the parent's.

    `secret` is what a peer must know to use the sockets in `folder`.
    """

    folder: str
    secret: str
    parent: int
    borrows: bool
    """Whether the parent can map memory that the child lends."""
    watching: Watching = Watching()


class Greeting(msgspec.Struct):
    """Child to parent, one line: READY, or why not."""

    error: str | None = None


def requests_endpoint(folder: str) -> str:
    """Where the sidecar takes messages."""
    return f"ipc://{folder}/requests"


def results_endpoint(folder: str) -> str:
    """Where the sidecar sends batches."""
    return f"ipc://{folder}/results"
