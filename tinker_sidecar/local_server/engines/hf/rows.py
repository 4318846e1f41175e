"""The keys and values of the sequences of a batch, in whichever way the model's layers allow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from tinker_sidecar.local_server.engines.hf.kv_cache import SharedCache

if TYPE_CHECKING:
    from transformers import Cache

    from tinker_sidecar.local_server.engines.hf.checkpoint import Checkpoint

__all__ = ["BatchRows", "LoneRows", "SharedRows"]


class BatchRows(Protocol):
    """The sequences, by row."""

    def add(self, cache: Cache, row: int, length: int, copies: int) -> None:
        """A prompt that has been read, for `copies` samples."""

    def keep(self, rows: list[int]) -> None:
        """Drop all but these."""

    def logits(self, tokens: torch.Tensor) -> torch.Tensor:
        """[B, V] after one token [B] more in each."""


class SharedRows:
    """Sequences of any length and of many requests."""

    def __init__(self, checkpoint: Checkpoint, like: Cache) -> None:
        self._checkpoint = checkpoint
        self._shared = SharedCache(like)

    def add(self, cache: Cache, row: int, length: int, copies: int) -> None:
        """A prompt that has been read, for `copies` samples."""
        self._shared.add(cache, row, length, copies)

    def keep(self, rows: list[int]) -> None:
        """Drop all but these, ordered as `_compacted` does."""
        self._shared.keep(rows)

    def logits(self, tokens: torch.Tensor) -> torch.Tensor:
        """[B, V] after one token [B] more in each."""
        positions = torch.tensor(self._shared.lengths, device=tokens.device)[:, None]
        self._shared.extend()
        mask = self._shared.mask(tokens.device)
        return self._checkpoint.logits(tokens[:, None], positions, self._shared.cache, mask)[:, -1]


class LoneRows:
    """The samples of one request, all equally long, of models whose layers keep more than keys and values."""

    def __init__(self, checkpoint: Checkpoint, cache: Cache) -> None:
        self._checkpoint = checkpoint
        self._cache = cache
        self._length = 0

    def add(self, cache: Cache, row: int, length: int, copies: int) -> None:
        """The prompt that has been read, for `copies` samples. It is the only one."""
        self._length = length
        self.keep([row] * copies)

    def keep(self, rows: list[int]) -> None:
        """Drop all but these."""
        self._cache.reorder_cache(torch.tensor(rows, device=self._checkpoint.device))

    def logits(self, tokens: torch.Tensor) -> torch.Tensor:
        """[B, V] after one token [B] more in each."""
        positions = torch.full((len(tokens), 1), self._length, device=tokens.device)
        self._length += 1
        return self._checkpoint.logits(tokens[:, None], positions, self._cache)[:, -1]
