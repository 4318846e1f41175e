"""Arrays of numbers in requests and results."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from tinker_client.errors import APIResponseValidationError
from tinker_client.types._cells import count_cells
from tinker_client.types._checks import INT64, as_int, is_official, wrong_type, wrong_value
from tinker_client.types._values import View
from tinker_sidecar.ipc import protocol
from tinker_sidecar.needs import importing_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt
    import torch

__all__ = ["TensorData", "TensorDtype"]

TensorDtype: TypeAlias = Literal["int64", "float32"]
"""What a tensor's values are."""

_set = object.__setattr__
_decode = msgspec.msgpack.Decoder(protocol.PackedTensor).decode

_SIZES = {"int64": 8, "float32": 4}
_KINDS = {"int64": "iu", "float32": "fiu"}
"""The kinds of numpy array that may become a tensor of a dtype."""


class TensorData(View):
    """A tensor of int64 or float32, dense or sparse (CSR: compressed sparse rows).

    Parameters
    ----------
    data
        The values: a flat or nested list, or an array. They are copied. Of a sparse tensor, only
        the listed ones, row by row.
    dtype
        "int64" or "float32".
    shape
        The dense shape; it is taken from `data` when not given, and a sparse tensor needs it.
    sparse_crow_indices
        Where each row starts in `data`, and the end of the last: one more than there are rows.
    sparse_col_indices
        The column of each value, ascending within a row. Both sparse arguments or neither.

    Raises
    ------
    TypeError
        `data` cannot be of that dtype: floats for int64, bools, text.
    ValueError
        The shape does not hold the values, or the indices are no CSR indices.
    """

    __slots__ = ("_wire",)
    _wire: protocol.PackedTensor

    def __init__(
        self,
        data: Sequence[Any] | npt.NDArray[Any] | None = None,
        dtype: TensorDtype | None = None,
        shape: Sequence[int] | None = None,
        sparse_crow_indices: Sequence[int] | npt.NDArray[Any] | None = None,
        sparse_col_indices: Sequence[int] | npt.NDArray[Any] | None = None,
    ) -> None:
        if dtype is None or dtype not in _SIZES:
            raise wrong_value("dtype", "'int64' or 'float32'", dtype)
        values = _array("data", data if data is not None else [], dtype)
        sizes = None if shape is None else [_size(index, size) for index, size in enumerate(shape)]
        crow = col = None
        if sparse_crow_indices is not None:
            crow = _packed(_array("sparse_crow_indices", sparse_crow_indices, "int64"))
        if sparse_col_indices is not None:
            col = _packed(_array("sparse_col_indices", sparse_col_indices, "int64"))
        if sizes is None and crow is None:
            sizes = list(values.shape)
        wire = protocol.PackedTensor(dtype, sizes, _packed(values), crow, col)
        _check(wire)
        _set(self, "_wire", wire)

    @classmethod
    def from_wire(cls, wire: protocol.PackedTensor) -> TensorData:
        """A view over a tensor from the engine; `APIResponseValidationError` if it makes no sense."""
        tensor = cls.__new__(cls)
        try:
            if wire.shape is None and wire.crow is None and wire.dtype in _SIZES:
                wire = msgspec.structs.replace(wire, shape=[len(wire.data) // _SIZES[wire.dtype]])
            _check(wire)
        except ValueError as error:
            raise APIResponseValidationError(f"malformed tensor in a result: {error}") from None
        _set(tensor, "_wire", wire)
        return tensor

    @classmethod
    def from_numpy(cls, array: npt.NDArray[Any]) -> TensorData:
        """A dense tensor of `array`'s shape: float32 from any floating dtype, int64 from any integer one.

        Raises `TypeError` for another dtype, `ValueError` for integers that do not fit int64.
        """
        return cls(data=array, dtype=_dtype_of(array))

    @classmethod
    def from_torch(cls, tensor: torch.Tensor) -> TensorData:
        """A dense tensor as of `from_numpy`, of a torch `tensor` on any device; bfloat16 becomes float32."""
        return cls.from_numpy(_numpy_of(tensor))

    @classmethod
    def from_torch_sparse(cls, tensor: torch.Tensor, pad_value: int = 0) -> TensorData:
        """A sparse tensor that lists what differs from `pad_value`.

        It is dense all the same when that takes less room, or when `tensor` is not of two dimensions.
        """
        from tinker_client.types._numpy import np

        array = _numpy_of(tensor)
        pad_value = _pad(pad_value)
        if array.ndim != 2:
            return cls.from_numpy(array)
        listed = array != pad_value
        rows, columns = array.shape
        if rows + 1 + 2 * int(listed.sum()) >= rows * columns:
            return cls.from_numpy(array)
        return cls(
            data=array[listed],
            dtype=_dtype_of(array),
            shape=[rows, columns],
            sparse_crow_indices=np.concatenate(([0], listed.sum(axis=1).cumsum())),
            sparse_col_indices=listed.nonzero()[1],
        )

    @classmethod
    def coerce(cls, value: object, name: str = "target_prompt_logprobs") -> TensorData:
        """`value` if it is a tensor, ours or the official SDK's; otherwise a `TypeError` about `name`."""
        if isinstance(value, TensorData):
            return value
        if is_official(value, "TensorData"):
            return _from_official(value)
        hint = " (use TensorData.from_numpy or TensorData.from_torch)" if hasattr(value, "tolist") else ""
        raise wrong_type(name, f"a types.TensorData{hint}", value)

    @property
    def data(self) -> list[int] | list[float]:
        """The values in one flat list; of a sparse tensor, the listed ones."""
        return _cells(self._wire.data, self._wire.dtype)

    @property
    def dtype(self) -> TensorDtype:
        """What the values are: "int64" or "float32"."""
        return self._wire.dtype  # type: ignore[return-value]

    @property
    def shape(self) -> list[int]:
        """The dense shape."""
        return list(self._wire.shape or ())

    @property
    def sparse_crow_indices(self) -> list[int] | None:
        """Where each row starts in `data`, or None for a dense tensor."""
        return None if self._wire.crow is None else _cells(self._wire.crow, "int64")

    @property
    def sparse_col_indices(self) -> list[int] | None:
        """The column of each value, or None for a dense tensor."""
        return None if self._wire.col is None else _cells(self._wire.col, "int64")

    def to_numpy(self, pad_value: int = 0) -> npt.NDArray[Any]:
        """A new dense array, with `pad_value` where a sparse tensor lists nothing."""
        from tinker_client.types._numpy import np

        values = _view(self._wire.data, self._wire.dtype)
        pad_value = _pad(pad_value)
        if self._wire.crow is None or self._wire.col is None:
            return values.reshape(self.shape).copy()
        dense = np.full(self.shape, pad_value, dtype=values.dtype)
        rows = np.repeat(np.arange(len(dense)), np.diff(_view(self._wire.crow, "int64")))
        dense[rows, _view(self._wire.col, "int64")] = values
        return dense

    def to_torch(self, pad_value: int = 0) -> torch.Tensor:
        """A new dense torch tensor, with `pad_value` where a sparse tensor lists nothing.

        Raises `ImportError` where PyTorch is not installed.
        """
        with importing_for("TensorData.to_torch", "torch"):
            import torch
        return torch.from_numpy(self.to_numpy(pad_value))

    def tolist(self, pad_value: int = 0) -> list[Any]:
        """Nested lists, with `pad_value` where a sparse tensor lists nothing."""
        nested: list[Any] = self.to_numpy(pad_value).tolist()
        return nested

    def to_wire(self) -> protocol.PackedTensor:
        """As it travels, both ways."""
        return self._wire

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TensorData):
            return NotImplemented
        return self._wire == other._wire

    def __hash__(self) -> int:
        return hash((self.dtype, tuple(self.shape), self._wire.data.tobytes()))

    def __repr__(self) -> str:
        layout = "" if self._wire.crow is None else f", {len(self._wire.data) // _SIZES[self.dtype]} listed"
        return f"TensorData(dtype={self.dtype!r}, shape={self.shape}{layout})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (msgspec.msgpack.encode(self._wire),)


def _unpickle(encoded: bytes) -> TensorData:
    tensor = TensorData.__new__(TensorData)
    _set(tensor, "_wire", _decode(encoded))
    return tensor


def _array(name: str, values: object, dtype: str) -> npt.NDArray[Any]:
    """`values` as an array of `dtype`, if no value changes its meaning by that."""
    from tinker_client.types._numpy import np

    allowed = "integers that fit int64" if dtype == "int64" else "numbers"
    try:
        array = np.asarray(values)
    except ValueError:
        raise wrong_value(name, f"{allowed}, in lists of equal length", values) from None
    if array.size and array.dtype.kind not in _KINDS[dtype]:
        raise wrong_type(name, allowed, values)
    if dtype == "int64" and array.dtype.kind == "u" and array.size and int(array.max()) > INT64[1]:
        raise wrong_value(name, allowed, values)
    return array.astype("<i8" if dtype == "int64" else "<f4")


def _packed(array: npt.NDArray[Any]) -> memoryview:
    return memoryview(array.tobytes())


def _view(cells: memoryview, dtype: str) -> npt.NDArray[Any]:
    from tinker_client.types._numpy import np

    return np.frombuffer(cells, dtype=np.int64 if dtype == "int64" else np.float32)


def _cells(cells: memoryview, dtype: str) -> list[Any]:
    return cells.cast("q").tolist() if dtype == "int64" else cells.cast("f").tolist()


def _dtype_of(array: npt.NDArray[Any]) -> TensorDtype:
    if array.dtype.kind == "f":
        return "float32"
    if array.dtype.kind in "iu":
        return "int64"
    raise TypeError(f"a tensor must be of an integer or floating dtype, got {array.dtype}")


def _numpy_of(tensor: torch.Tensor) -> npt.NDArray[Any]:
    tensor = tensor.detach().cpu()
    # numpy has no bfloat16, and float32 is where every floating dtype ends up.
    array: npt.NDArray[Any] = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return array


def _from_official(tensor: Any) -> TensorData:
    if getattr(tensor, "sparse_crow_indices", None) is None:  # Old versions have none.
        return TensorData(data=tensor.to_numpy(), dtype=tensor.dtype)
    return TensorData(
        data=tensor.data,
        dtype=tensor.dtype,
        shape=tensor.shape,
        sparse_crow_indices=tensor.sparse_crow_indices,
        sparse_col_indices=tensor.sparse_col_indices,
    )


def _size(index: int, size: object) -> int:
    return as_int(f"shape[{index}]", size, "an int, 0 or more", (0, INT64[1]))


def _pad(pad_value: object) -> int:
    return as_int("pad_value", pad_value, "an int", INT64)


def _check(wire: protocol.PackedTensor) -> None:
    """A ValueError that says in what way `wire` is not a tensor."""
    if wire.dtype not in _SIZES:
        raise ValueError(f"unknown dtype {wire.dtype!r}")
    count = count_cells("data", wire.data, _SIZES[wire.dtype])
    if (wire.crow is None) != (wire.col is None):
        raise ValueError("a sparse tensor needs both sparse_crow_indices and sparse_col_indices")
    if wire.crow is not None and wire.col is not None:
        _check_csr(wire.shape, count, wire.crow, wire.col)
    elif wire.shape is not None and (min(wire.shape, default=0) < 0 or math.prod(wire.shape) != count):
        raise ValueError(f"shape must hold the {count} values of data, got {wire.shape}")


def _check_csr(shape: list[int] | None, count: int, crow_cells: memoryview, col_cells: memoryview) -> None:
    if shape is None or len(shape) != 2 or min(shape) < 0:
        raise ValueError(f"a sparse tensor needs the shape [rows, columns], got {shape}")
    rows, columns = shape
    if count_cells("sparse_crow_indices", crow_cells, 8) != rows + 1:
        raise ValueError(f"sparse_crow_indices must have {rows + 1} entries, got {len(crow_cells) // 8}")
    if count_cells("sparse_col_indices", col_cells, 8) != count:
        raise ValueError(f"sparse_col_indices must have {count} entries, got {len(col_cells) // 8}")
    crow, col = _view(crow_cells, "int64"), _view(col_cells, "int64")
    if crow[0] != 0 or crow[-1] != count or (crow[1:] < crow[:-1]).any():
        raise ValueError(f"sparse_crow_indices must rise from 0 to {count}, the number of values")
    if count and not (col.min() >= 0 and col.max() < columns):
        raise ValueError(f"sparse_col_indices must be in 0..{columns - 1}")
    if not _ascends_in_rows(crow, col):
        raise ValueError("sparse_col_indices must ascend within each row")


def _ascends_in_rows(crow: npt.NDArray[np.int64], col: npt.NDArray[np.int64]) -> bool:
    from tinker_client.types._numpy import np

    ascends = np.ones(len(col), dtype=bool)
    ascends[1:] = col[1:] > col[:-1]
    starts = crow[:-1]
    ascends[starts[starts < len(col)]] = True
    return bool(ascends.all())
