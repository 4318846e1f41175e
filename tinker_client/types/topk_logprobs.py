"""The likeliest tokens at each position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from tinker_client.types._cells import (
    count_cells,
    float32_array,
    float32_list,
    int32_array,
    int32_list,
    pack_floats,
    pack_token_ids,
)
from tinker_client.types._checks import wrong_type
from tinker_client.types._pydantic import PydanticField
from tinker_sidecar.ipc import protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    _Int32Array: TypeAlias = npt.NDArray[np.int32]
    _Float32Array: TypeAlias = npt.NDArray[np.float32]
else:
    # `help` and `inspect.signature` look these up, without numpy.
    _Int32Array = _Float32Array = object

__all__ = ["TopkLogprobs", "check_topk", "pack_topk", "unpack_topk", "unpack_topk_np"]

TopkRows: TypeAlias = list[list[tuple[int, float]] | None]
"""Per position the (token id, logprob) pairs, likeliest first, or None where nothing was computed."""

_EMPTY = (0, -99999.0)


class TopkLogprobs(PydanticField, msgspec.Struct, frozen=True):
    """The k likeliest tokens at each of n positions, as two matrices.

    A cell that holds nothing is token 0 with the logprob -99999.0.

    Parameters
    ----------
    token_ids
        int32, shape (n, k).
    logprobs
        float32, shape (n, k), in nats.

    Raises
    ------
    ValueError
        The two are not matrices of one shape.
    """

    token_ids: _Int32Array
    logprobs: _Float32Array

    def __post_init__(self) -> None:
        from tinker_client.types._numpy import np

        token_ids = np.asarray(self.token_ids, dtype=np.int32)
        logprobs = np.asarray(self.logprobs, dtype=np.float32)
        if token_ids.ndim != 2 or token_ids.shape != logprobs.shape:
            raise ValueError(
                f"token_ids and logprobs must be matrices of one shape, "
                f"got {token_ids.shape} and {logprobs.shape}"
            )
        msgspec.structs.force_setattr(self, "token_ids", token_ids)
        msgspec.structs.force_setattr(self, "logprobs", logprobs)

    def __eq__(self, other: object) -> bool:
        from tinker_client.types._numpy import np

        if not isinstance(other, TopkLogprobs):
            return NotImplemented
        return np.array_equal(self.token_ids, other.token_ids) and np.array_equal(
            self.logprobs, other.logprobs, equal_nan=True
        )

    # An array can be changed, so its hash would not last.
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        positions, k = self.token_ids.shape
        return f"TopkLogprobs(positions={positions}, k={k})"


def pack_topk(
    name: str, topk: TopkLogprobs | Sequence[Sequence[tuple[int, float]] | None]
) -> protocol.PackedTopK:
    """Matrices, or rows of pairs, as they travel; short rows are filled with the empty cell."""
    if isinstance(topk, TopkLogprobs):
        ids, logprobs = topk.token_ids, topk.logprobs
        return protocol.PackedTopK(ids.shape[1], memoryview(ids.tobytes()), memoryview(logprobs.tobytes()))
    if isinstance(topk, str) or not isinstance(topk, Sequence):
        raise wrong_type(name, "TopkLogprobs, or a list of lists of (token id, logprob) pairs", topk)
    k = max((len(row) for row in topk if row is not None), default=0)
    cells = [cell for row in topk for cell in [*(row or ()), *[_EMPTY] * (k - len(row or ()))]]
    return protocol.PackedTopK(
        k,
        memoryview(pack_token_ids(name, [token_id for token_id, _ in cells])),
        memoryview(pack_floats(name, [logprob for _, logprob in cells])),
    )


def check_topk(name: str, topk: protocol.PackedTopK) -> None:
    """A ValueError when the cells do not fill two matrices of one shape."""
    cells = count_cells(f"{name}.token_ids", topk.token_ids)
    # Without a row there may be no k either.
    whole = cells % topk.k == 0 if topk.k > 0 else cells == 0
    if count_cells(f"{name}.logprobs", topk.logprobs) != cells or not whole:
        raise ValueError(f"{name} has {len(topk.token_ids)} and {len(topk.logprobs)} bytes for k={topk.k}")


def unpack_topk(topk: protocol.PackedTopK | None) -> TopkRows | None:
    """Rows of pairs without the empty cells; None for no cells at all, as the official SDK has it."""
    if topk is None or not topk.token_ids:
        return None
    cells = list(zip(int32_list(topk.token_ids), float32_list(topk.logprobs), strict=True))
    rows = (cells[start : start + topk.k] for start in range(0, len(cells), topk.k))
    return [row if row[-1] != _EMPTY else _trimmed(row) for row in rows]


def _trimmed(row: list[tuple[int, float]]) -> list[tuple[int, float]] | None:
    while row and row[-1] == _EMPTY:
        row.pop()
    return row or None


def unpack_topk_np(topk: protocol.PackedTopK | None) -> TopkLogprobs | None:
    """As arrays, without a copy."""
    if topk is None or not topk.token_ids:
        return None
    token_ids, logprobs = int32_array(topk.token_ids), float32_array(topk.logprobs)
    return TopkLogprobs(token_ids.reshape(-1, topk.k), logprobs.reshape(-1, topk.k))
