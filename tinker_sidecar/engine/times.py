"""How long something took, each time that it happened."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from fastdigest import TDigest

__all__ = ["Times"]

_CENTROIDS = 100
"""What a digest remembers. The 99th percentile is then a few percent off."""

_FEW = 1024
"""Times that take less memory than a digest, which has six kilobytes for a single one, too."""


class Times:
    """Remembers seconds: each of them while there are few, else a digest of them."""

    __slots__ = ("_digest", "_few")

    def __init__(self) -> None:
        self._few = array("f")
        self._digest: TDigest | None = None
        """Of all that are not in `_few`."""

    def extend(self, seconds: Iterable[float]) -> None:
        """Remember these as well."""
        self._few.extend(seconds)
        if len(self._few) > _FEW:
            self._digest, self._few = self.digest(), array("f")

    def add(self, others: Times) -> None:
        """Remember those that `others` does as well."""
        if others._digest is not None:
            self._digest = (
                others._digest.copy() if self._digest is None else self._digest.merge(others._digest)
            )
        self.extend(others._few)

    def digest(self) -> TDigest:
        """Of all of them; not to be changed."""
        if self._digest is None:
            return TDigest.from_values(self._few, max_centroids=_CENTROIDS)
        if self._few:
            return self._digest.merge(TDigest.from_values(self._few, max_centroids=_CENTROIDS))
        return self._digest
