"""Which numbers a process gives to its requests, so that no two of a sampler ever have the same.

The server takes what has the number of an earlier request for that request, and answers with its result. The
original client of a sampler, clone 0, is in one process alone. Copies may be in any number of them: each
process has a counter for a sampler, for all copies that are or ever were in it, and a clone id of its own;
or processes that share a sidecar share one, of whose numbers each gets a part.
"""

from __future__ import annotations

import concurrent.futures
import os
import random

from tinker_sidecar.ipc.protocol import NUMBERS_OF_A_COPY, SamplerInfo

__all__ = [
    "CloneNumbers",
    "SamplerKey",
    "forget_recycled",
    "numbers_of_a_copy",
    "numbers_of_the_original",
    "recycle",
]

SamplerKey = tuple[str, str]
"""The server's address and the sampling session's id."""

_CLONES = 10**9
_OF_THE_ORIGINAL = 500_000_000
"""Half of a clone's numbers: the engine uses the upper half for what it must submit anew."""
_FIRSTS = 250_000_000
"""Counters of copies start below this, at random. In the quarter of the numbers above it, there is room for
others who have the same clone id."""

_random = random.SystemRandom()
_unused: dict[SamplerKey, list[CloneNumbers]] = {}
"""What copies that are gone have left behind, to be gone on with."""


class CloneNumbers:
    """A clone id and a counter, used by one handle at a time, that ends after `many`.

    `join` says that the engine has yet to be asked for the clone id: what is here is drawn at random. Where
    servers hand none out, two processes would have to draw the same one and begin to count close together.
    """

    def __init__(self, clone: int, first: int, many: int, *, join: bool) -> None:
        self.clone = clone
        self.join = join
        self.first = first
        self.shift = 0
        """What is added to what is counted: the engine has given others the same clone id."""
        self.next_offset = iter(range(first, first + many)).__next__
        """The next, or `StopIteration`."""
        self.are_used_up = False
        self.process = os.getpid()

    def learn(self, opened: concurrent.futures.Future[SamplerInfo]) -> None:
        """Keep the clone id that the sampler was opened with."""
        if not opened.cancelled() and opened.exception() is None:
            info = opened.result()
            self.clone, self.shift, self.join = info.clone, info.shift, False


def numbers_of_the_original() -> CloneNumbers:
    """Those of the client that had the sampler created: clone 0, counted from 0."""
    return CloneNumbers(0, 0, _OF_THE_ORIGINAL, join=False)


def numbers_of_a_copy(sampler: SamplerKey) -> CloneNumbers:
    """Those that a copy before has left behind or, if there are none, new ones."""
    try:
        return _unused[sampler].pop()
    except (KeyError, IndexError):
        clone, first = _random.randint(1, _CLONES), _random.randrange(_FIRSTS)
        return CloneNumbers(clone, first, NUMBERS_OF_A_COPY, join=True)


def recycle(sampler: SamplerKey, numbers: CloneNumbers) -> None:
    """A copy's handle is gone: the next one goes on. In a forked child they stay the parent's."""
    if numbers.process == os.getpid() and not numbers.are_used_up:
        _unused.setdefault(sampler, []).append(numbers)


def forget_recycled() -> None:
    """Copies in other processes may go on with these clone ids, as may the parent of a forked child."""
    _unused.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_recycled)
