"""Numbers as they travel: raw little-endian bytes, four or eight a number."""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, cast

import msgspec

from tinker_client.types._checks import TOKEN_ID, as_float, as_int, wrong_type, wrong_value

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "count_cells",
    "float32_array",
    "float32_list",
    "int32_array",
    "int32_list",
    "pack_floats",
    "pack_token_ids",
]

_TOKEN_IDS = list[Annotated[int, msgspec.Meta(ge=TOKEN_ID[0], le=TOKEN_ID[1])]]


def pack_token_ids(name: str, tokens: object) -> bytes:
    """Token ids as int32."""
    values = _values(name, tokens, "a sequence of token ids")
    try:
        # Strict, so it refuses bools and floats, and far faster than a loop here.
        values = msgspec.convert(values, _TOKEN_IDS)
    except msgspec.ValidationError:
        # Either a list of numpy integers, say, or an error that should name the token.
        values = [
            as_int(f"{name}[{index}]", value, "a token id, an int in 0..2147483647", TOKEN_ID)
            for index, value in enumerate(values)
        ]
    return struct.pack(f"<{len(values)}i", *values)


def pack_floats(name: str, numbers: object) -> bytes:
    """Numbers as float32, NaN for None."""
    values = [
        math.nan if value is None else as_float(f"{name}[{index}]", value, "a number or None")
        for index, value in enumerate(_values(name, numbers, "a sequence of numbers"))
    ]
    try:
        return struct.pack(f"<{len(values)}f", *values)
    except OverflowError:
        raise wrong_value(name, "numbers that fit float32", numbers) from None


def _values(name: str, values: object, allowed: str) -> Sequence[Any]:
    if isinstance(values, list | tuple):
        return values
    # numpy, torch, array.array and memoryview alike, without importing any of them.
    if hasattr(values, "tolist"):
        shape = getattr(values, "shape", None)
        if shape is not None and len(shape) != 1:
            raise ValueError(f"{name} must be one-dimensional, got an array of shape {tuple(shape)}")
        return cast("list[Any]", values.tolist())
    if isinstance(values, Sequence) and not isinstance(values, str | bytes | bytearray):
        return values
    raise wrong_type(name, allowed, values)


def int32_list(cells: memoryview | bytes) -> list[int]:
    return memoryview(cells).cast("i").tolist()


def float32_list(cells: memoryview | bytes) -> list[float]:
    return cast("list[float]", memoryview(cells).cast("f").tolist())


def int32_array(cells: memoryview) -> npt.NDArray[np.int32]:
    return _from_buffer()(cells, "i4").copy()


def float32_array(cells: memoryview) -> npt.NDArray[np.float32]:
    return _from_buffer()(cells, "f4").copy()


@functools.cache
def _from_buffer() -> Callable[[memoryview, str], npt.NDArray[Any]]:
    """numpy's, kept: to import it by name takes longer than to make an array."""
    from tinker_client.types._numpy import np

    return np.frombuffer


def count_cells(name: str, cells: memoryview, size: int = 4) -> int:
    """How many numbers there are; a ValueError when the last one is cut short."""
    count, rest = divmod(len(cells), size)
    if rest:
        raise ValueError(f"{name} has {len(cells)} bytes, not whole numbers of {size} bytes")
    return count
