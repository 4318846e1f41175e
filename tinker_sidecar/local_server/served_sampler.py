"""A sampling session as the server keeps it: its clients, and the requests they have made.

These classes refer to one another, so they share a file. What is done with them is in `sessions` and in
`promises`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinker_sidecar.local_server.completions import CompletionFeed

if TYPE_CHECKING:
    import asyncio

    from tinker_sidecar.local_server.journal import SessionLog
    from tinker_sidecar.local_server.long_poll import Waiters

__all__ = ["Clone", "ServedFailure", "ServedPromise", "ServedSampler"]

CLONE_BLOCK = 1_000_000_000
"""How many requests one client of a sampling session may number."""
_PROMISE_BYTES = 1024
"""About what a promise weighs without its payload."""


@dataclass(frozen=True, slots=True)
class ServedFailure:
    """Why a request failed, as `retrieve_future` answers it."""

    error: str
    category: str
    """Whose fault it was: `user` or `server`."""


class ServedPromise:
    """One request: pending until it has a `payload` (the protobuf result) or a `failure`."""

    __slots__ = (
        "clone",
        "failure",
        "gone",
        "num_samples",
        "payload",
        "request_id",
        "sampler",
        "seq_id",
        "task",
        "waiters",
    )

    def __init__(self, sampler: ServedSampler, seq_id: int, num_samples: int) -> None:
        self.sampler = sampler
        self.clone: Clone = sampler.meet_clone(seq_id // CLONE_BLOCK)
        self.seq_id = seq_id
        self.request_id = f"{sampler.sampler_id}:{seq_id}"
        self.num_samples = num_samples
        self.task: asyncio.Task[None] | None = None
        """Works on it, while it is pending."""
        self.payload: bytes | None = None
        self.failure: ServedFailure | None = None
        self.gone = False
        """Dropped by the server: asking for it is a 410."""
        self.waiters: Waiters = []

    @property
    def done(self) -> bool:
        """Whether it has its payload or its failure."""
        return self.payload is not None or self.failure is not None

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        return _PROMISE_BYTES + len(self.payload or b"")


class Clone:
    """One client of a sampling session, whose `seq_id`s lie in a block of their own."""

    __slots__ = ("feed", "highest_seq_id")

    def __init__(self) -> None:
        self.highest_seq_id = -1
        self.feed: CompletionFeed[ServedPromise] | None = None
        """Kept from the first `retrieve_futures` on: few clients ask for it."""


class ServedSampler:
    """A sampling session: what `asample` names. `log` is that of the session it belongs to."""

    __slots__ = ("base_model", "clones", "log", "model_path", "promises", "sampler_id", "weights")

    def __init__(self, sampler_id: str, log: SessionLog, base_model: str, model_path: str | None) -> None:
        self.sampler_id = sampler_id
        self.log = log
        self.base_model = base_model
        self.model_path = model_path
        self.weights = model_path
        """Where the weights are that are to be sampled; None: they are the served model's."""
        self.clones = {0: Clone()}
        self.promises: dict[int, ServedPromise] = {}
        """By `seq_id`: the same number again is the same request."""

    def meet_clone(self, number: int) -> Clone:
        """The client with that number, which is known from now on: clients may choose one themselves."""
        clone = self.clones.get(number)
        if clone is None:
            clone = self.clones[number] = Clone()
        return clone

    def has_seen(self, seq_id: int) -> bool:
        """Whether the clone that owns `seq_id` has come that far."""
        clone = self.clones.get(seq_id // CLONE_BLOCK)
        return clone is not None and seq_id <= clone.highest_seq_id

    def join(self) -> int:
        """Hand out a clone number nobody has used."""
        number = len(self.clones)
        while number in self.clones:
            number += 1
        self.meet_clone(number)
        return number

    def open_feed(self, clone_number: int) -> CompletionFeed[ServedPromise]:
        """The completions of one client; the first call begins to keep them, with what is done already."""
        clone = self.meet_clone(clone_number)
        if clone.feed is None:
            clone.feed = CompletionFeed()
            for promise in self.promises.values():
                if promise.clone is clone and promise.done:
                    clone.feed.publish(promise)
        return clone.feed
