"""How long each stage took, of every request that ended."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import chain

from fastdigest import TDigest

__all__ = ["Times"]

_CENTROIDS = 100
"""What a digest remembers. The 99th percentile is then a few percent off."""

_FEW = 1024
"""Requests whose times take less memory than digests, which have six kilobytes for a single one, too."""


class Times:
    """Remembers the seconds of so many `stages` for each request: as they are while there are few of them,
    else a digest for each stage.
    """

    __slots__ = ("_digests", "_few", "_stages")

    def __init__(self, stages: int) -> None:
        self._stages = stages
        self._few = array("f")
        """One request after the other."""
        self._digests: tuple[TDigest, ...] = ()
        """Of all that are not in `_few`, if there are any."""

    def extend(self, columns: Sequence[Sequence[float]]) -> None:
        """Remember these requests as well; a column for each stage."""
        self._few.extend(chain.from_iterable(zip(*columns, strict=True)))
        self._shorten()

    def add(self, others: Times) -> None:
        """Remember those that `others` does as well."""
        if others._digests:
            self._digests = _merged(self._digests, others._digests)
        self._few.extend(others._few)
        self._shorten()

    def digests(self) -> tuple[TDigest, ...]:
        """Of all of them, one for each stage, not to be changed; none if there are no requests."""
        if not self._few:
            return self._digests
        columns = [self._few[stage :: self._stages] for stage in range(self._stages)]
        few = tuple(TDigest.from_values(column, max_centroids=_CENTROIDS) for column in columns)
        return _merged(self._digests, few)

    def _shorten(self) -> None:
        if len(self._few) > _FEW * self._stages:
            self._digests, self._few = self.digests(), array("f")


def _merged(some: tuple[TDigest, ...], others: tuple[TDigest, ...]) -> tuple[TDigest, ...]:
    if not some:
        return others
    return tuple(one.merge(other) for one, other in zip(some, others, strict=True))
