"""Keys and values of sequences that come and go while others go on, for models that keep only those.

Sequences differ in length. They end in the same column, so each has columns at its left that are not its own:

    . . a b c d     rows: sequences
    a b c d e f     columns: from `Window.start` to `Window.end` of the arrays, the newest token in the last

The arrays have room to spare in every direction. So a token more is written in its place, a sequence that
comes is copied into a free row, and one that leaves has its row taken by another. What lies in columns that
are not a sequence's own is never looked at, but must be finite: attention multiplies it by zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import Cache
from transformers.cache_utils import DynamicLayer

__all__ = ["SharedCache"]

_MORE_COLUMNS = 64


@dataclass(slots=True)
class Window:
    """Which part of the arrays is in use, in all layers alike."""

    rows: int = 0
    start: int = 0
    end: int = 0


class SharedCache:
    """The cache of a batch. `lengths` are those of its sequences, in the order of its rows."""

    def __init__(self, like: Cache) -> None:
        """`like` has the number of layers, and what each holds."""
        self.lengths: list[int] = []
        self._window = Window()
        self._layers = [_RoomyLayer(self._window, layer) for layer in like.layers]
        self.cache = Cache(layers=self._layers)
        """What transformers knows it by."""

    def add(self, other: Cache, row: int, length: int, copies: int) -> None:
        """A sequence, `copies` times: the first `length` columns of one row of `other`."""
        window = self._window
        width = max(window.end - window.start, length)
        if width > window.end or window.rows + copies > self._row_capacity:
            self._make_room(window.rows + copies, width)
        window.start = window.end - width
        new_rows = slice(window.rows, window.rows + copies)
        window.rows += copies
        for layer, source in zip(self._layers, other.layers, strict=True):
            layer.write(new_rows, source, row, length)
        self.lengths += [length] * copies

    def keep(self, rows: list[int]) -> None:
        """Drop every sequence but `rows`, which get this order; none may move to a kept one's place."""
        moves = [(new, old) for new, old in enumerate(rows) if new != old]
        for layer in self._layers:
            layer.move(moves)
        self.lengths = [self.lengths[row] for row in rows]
        self._window.rows = len(rows)
        self._window.start = self._window.end - max(self.lengths, default=0)

    def extend(self) -> None:
        """Make a column for one token more in every sequence, which the model writes to."""
        window = self._window
        if window.end == self._column_capacity:
            width = window.end - window.start
            self._make_room(window.rows, width + max(_MORE_COLUMNS, width // 2), width)
        window.end += 1
        self.lengths = [length + 1 for length in self.lengths]

    def mask(self, device: torch.device) -> torch.Tensor | None:
        """[B, T] where each sequence's own columns are; None if all are."""
        width = self._window.end - self._window.start
        if all(length == width for length in self.lengths):
            return None
        own = torch.tensor(self.lengths, device=device)[:, None]
        return (torch.arange(width, device=device) >= width - own).long()

    @property
    def _row_capacity(self) -> int:
        return max(layer.capacity[0] for layer in self._layers)

    @property
    def _column_capacity(self) -> int:
        return max(layer.capacity[1] for layer in self._layers)

    def _make_room(self, rows: int, columns: int, end: int | None = None) -> None:
        """New arrays, in which the columns end at `end`, by default where the arrays have room for more."""
        window = self._window
        rows = rows if rows <= self._row_capacity else max(rows, 2 * self._row_capacity)
        end = columns if end is None else end
        columns = max(columns, end + _MORE_COLUMNS)
        start = end - (window.end - window.start)
        for layer in self._layers:
            layer.reallocate(rows, columns, start)
        window.start, window.end = start, end


class _RoomyLayer(DynamicLayer):  # type: ignore[misc]  # transformers is not read by mypy.
    """One layer's arrays [B, H, T, D], of which the model sees the part in the window."""

    def __init__(self, window: Window, like: Any) -> None:
        super().__init__()
        self._window = window
        self.is_initialized = like.is_initialized
        self.capacity = (0, 0)
        """Rows and columns. None of a layer that borrows another's keys and values."""
        if like.is_initialized:
            self.keys, self.values = (_zeros(it, 0, 0) for it in (like.keys, like.values))

    def update(self, keys: torch.Tensor, values: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Write what is new into its columns, and give all that there is. Called by the model."""
        rows, start, end = self._window.rows, self._window.start, self._window.end
        self.keys[:rows, :, end - 1 : end] = keys
        self.values[:rows, :, end - 1 : end] = values
        return self.keys[:rows, :, start:end], self.values[:rows, :, start:end]

    def get_seq_length(self) -> int:
        """The columns before the one that is being computed. Called by transformers to make masks."""
        return self._window.end - self._window.start - 1

    def write(self, rows: slice, source: Any, row: int, length: int) -> None:
        """Copy a row of `source` into each of `rows`, up to where the window ends."""
        if self.is_initialized:
            start, end = self._window.start, self._window.end
            for array, other in ((self.keys, source.keys), (self.values, source.values)):
                array[rows, :, start : end - length] = 0
                array[rows, :, end - length : end] = other[row, :, :length]

    def move(self, moves: list[tuple[int, int]]) -> None:
        """Copy rows, each from the second place to the first."""
        if self.is_initialized:
            columns = slice(self._window.start, self._window.end)
            for array in (self.keys, self.values):
                for new, old in moves:
                    array[new, :, columns] = array[old, :, columns]

    def reallocate(self, rows: int, columns: int, start: int) -> None:
        """Other arrays of that size, with what is in the window now at `start`."""
        if self.is_initialized:
            self.keys = self._reallocated(self.keys, rows, columns, start)
            self.values = self._reallocated(self.values, rows, columns, start)
            self.capacity = rows, columns

    def _reallocated(self, array: torch.Tensor, rows: int, columns: int, start: int) -> torch.Tensor:
        window = self._window
        grown = _zeros(array, rows, columns)
        used = array[: window.rows, :, window.start : window.end]
        grown[: window.rows, :, start : start + used.shape[2]] = used
        return grown


def _zeros(like: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    _, heads, _, width = like.shape
    return like.new_zeros((rows, heads, columns, width))
