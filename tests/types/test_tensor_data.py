"""Tensors: dense and sparse, from and to numpy and torch, and what is refused."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tinker_client.errors import APIResponseValidationError
from tinker_client.types import TensorData
from tinker_sidecar.ipc import protocol

SHAPES = npst.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5)
ARRAYS = npst.arrays(np.int64, SHAPES) | npst.arrays(np.float32, SHAPES)
MATRICES = npst.arrays(
    np.int64,
    npst.array_shapes(min_dims=2, max_dims=2, max_side=8),
    elements=st.sampled_from([-1, -1, -1, 0, 7]),
)


def csr(array: Any, pad: int) -> TensorData:
    """Always sparse, unlike `from_torch_sparse`."""
    listed = array != pad
    return TensorData(
        data=array[listed],
        dtype="int64",
        shape=array.shape,
        sparse_crow_indices=[0, *np.cumsum(listed.sum(axis=1)).tolist()],
        sparse_col_indices=np.nonzero(listed)[1].tolist(),
    )


@given(ARRAYS)
def test_dense_tensors_survive(array: np.ndarray) -> None:
    tensor = TensorData.from_numpy(array)
    assert tensor.shape == list(array.shape)
    np.testing.assert_array_equal(tensor.to_numpy(), array)
    assert tensor.to_numpy().dtype == array.dtype
    assert TensorData.from_wire(tensor.to_wire()) == tensor
    encoded = msgspec.msgpack.encode(tensor.to_wire())
    assert TensorData.from_wire(msgspec.msgpack.decode(encoded, type=protocol.PackedTensor)) == tensor
    assert len(tensor.data) == array.size


@given(MATRICES)
def test_sparse_tensors_survive(array: np.ndarray) -> None:
    tensor = csr(array, -1)
    np.testing.assert_array_equal(tensor.to_numpy(pad_value=-1), array)
    assert tensor.tolist(pad_value=-1) == array.tolist()
    assert TensorData.from_wire(tensor.to_wire()) == tensor
    assert tensor.data == array[array != -1].tolist()


def test_the_parts_of_a_sparse_tensor() -> None:
    tensor = csr(np.array([[-1, 5, -1], [-1, -1, -1], [6, -1, 7]]), -1)
    assert tensor.data == [5, 6, 7]
    assert tensor.sparse_crow_indices == [0, 1, 1, 3]
    assert tensor.sparse_col_indices == [1, 0, 2]
    assert tensor.tolist() == [[0, 5, 0], [0, 0, 0], [6, 0, 7]]
    assert repr(tensor) == "TensorData(dtype='int64', shape=[3, 3], 3 listed)"


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({"data": [1, 2, 3, 4]}, [4]),
        ({"data": [[1, 2], [3, 4]]}, [2, 2]),
        ({"data": [1, 2, 3, 4], "shape": [2, 2]}, [2, 2]),
        ({"data": (1, 2, 3, 4), "shape": (2, 2)}, [2, 2]),
        ({"data": []}, [0]),
        ({}, [0]),
        ({"data": [], "shape": [0, 3]}, [0, 3]),
    ],
)
def test_the_shape_is_given_or_taken_from_the_data(arguments: dict[str, Any], shape: list[int]) -> None:
    tensor = TensorData(dtype="int64", **arguments)
    assert tensor.shape == shape
    assert tensor.data == [1, 2, 3, 4][: math.prod(shape)]


def test_every_integer_and_floating_dtype_becomes_one_of_two() -> None:
    for integer in (np.int8, np.uint8, np.int32, np.uint64):
        assert TensorData.from_numpy(np.array([1], dtype=integer)).dtype == "int64"
    for floating in (np.float16, np.float64):
        assert TensorData.from_numpy(np.array([1], dtype=floating)).dtype == "float32"
    assert TensorData(data=[1, 2], dtype="float32").data == [1.0, 2.0]


def test_arrays_are_copied_in_and_out() -> None:
    array = np.array([1, 2])
    tensor = TensorData.from_numpy(array)
    array[0] = 9
    tensor.to_numpy()[1] = 9
    assert tensor.data == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"data": [1]}, ValueError, "dtype must be 'int64' or 'float32', got NoneType"),
        ({"data": [1], "dtype": "int32"}, ValueError, "dtype must be .* got str: 'int32'"),
        ({"data": [1.5], "dtype": "int64"}, TypeError, "data must be integers"),
        ({"data": [True], "dtype": "int64"}, TypeError, "data must be integers"),
        ({"data": ["a"], "dtype": "float32"}, TypeError, "data must be numbers"),
        ({"data": [2**63], "dtype": "int64"}, ValueError, "data must be integers that fit int64"),
        ({"data": [2**70], "dtype": "int64"}, TypeError, "data must be integers that fit int64"),
        ({"data": [[1], [2, 3]], "dtype": "int64"}, ValueError, "lists of equal length"),
        ({"data": [1, 2], "dtype": "int64", "shape": [3]}, ValueError, "shape must hold the 2 values"),
        ({"data": [1, 2], "dtype": "int64", "shape": [-1]}, ValueError, r"shape\[0\] must be"),
        ({"data": [1, 2], "dtype": "int64", "shape": ["2"]}, TypeError, r"shape\[0\] must be"),
    ],
)
def test_a_wrong_dense_tensor_is_refused(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        TensorData(**arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sparse_crow_indices": None}, "needs both"),
        ({"sparse_col_indices": None}, "needs both"),
        ({"shape": None}, r"needs the shape \[rows, columns\], got None"),
        ({"shape": [6]}, "needs the shape"),
        ({"shape": [3, 3]}, "sparse_crow_indices must have 4 entries, got 3"),
        ({"data": [1]}, "sparse_col_indices must have 1 entries, got 2"),
        ({"sparse_crow_indices": [1, 1, 2]}, "must rise from 0 to 2"),
        ({"sparse_crow_indices": [0, 1, 1]}, "must rise from 0 to 2"),
        ({"sparse_crow_indices": [0, 3, 2]}, "must rise from 0 to 2"),
        ({"sparse_col_indices": [0, 3]}, "must be in 0..2"),
        ({"sparse_col_indices": [-1, 0]}, "must be in 0..2"),
        ({"sparse_crow_indices": [0, 2, 2], "sparse_col_indices": [1, 1]}, "must ascend within each row"),
    ],
)
def test_a_wrong_sparse_tensor_is_refused(changes: dict[str, Any], message: str) -> None:
    right: dict[str, Any] = {
        "data": [1, 2],
        "dtype": "int64",
        "shape": [2, 3],
        "sparse_crow_indices": [0, 1, 2],
        "sparse_col_indices": [1, 0],
    }
    TensorData(**right)
    with pytest.raises(ValueError, match=message):
        TensorData(**{**right, **changes})


@given(
    st.builds(
        protocol.PackedTensor,
        dtype=st.sampled_from(["int64", "float32", "int32", ""]),
        shape=st.none() | st.lists(st.integers(-2, 4), max_size=3),
        data=st.binary(max_size=32).map(memoryview),
        crow=st.none()
        | st.lists(st.integers(-1, 4), max_size=4).map(lambda x: memoryview(np.array(x, "<i8").tobytes())),
        col=st.none() | st.binary(max_size=32).map(memoryview),
    )
)
def test_any_tensor_from_the_engine_is_read_or_refused(wire: protocol.PackedTensor) -> None:
    with suppress(APIResponseValidationError):
        tensor = TensorData.from_wire(wire)
        assert list(tensor.to_numpy().shape) == tensor.shape


def test_the_pad_value_is_an_int() -> None:
    with pytest.raises(TypeError, match="pad_value must be an int, got float"):
        TensorData(data=[1], dtype="int64").to_numpy(pad_value=0.5)  # type: ignore[arg-type]


def test_an_array_is_refused_with_advice() -> None:
    with pytest.raises(TypeError, match=r"target must be a types.TensorData \(use TensorData.from_numpy"):
        TensorData.coerce(np.array([1]), "target")


def test_without_torch_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(ImportError, match=r'^TensorData.to_torch needs .*: pip install "torch"$'):
        TensorData(data=[1], dtype="int64").to_torch()


@given(ARRAYS)
def test_torch_tensors_survive(array: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(array.copy())
    assert torch.equal(TensorData.from_torch(tensor).to_torch().nan_to_num(), tensor.nan_to_num())


@given(MATRICES)
def test_torch_tensors_become_sparse_when_that_is_smaller(array: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    tensor = TensorData.from_torch_sparse(torch.from_numpy(array.copy()), pad_value=-1)
    rows, columns = array.shape
    saves = rows + 1 + 2 * (array != -1).sum() < rows * columns
    assert (tensor.sparse_crow_indices is not None) == saves
    assert tensor.to_torch(pad_value=-1).tolist() == array.tolist()


def test_torch_bfloat16_and_gradients() -> None:
    torch = pytest.importorskip("torch")
    tensor = TensorData.from_torch(torch.tensor([0.5], dtype=torch.bfloat16, requires_grad=True))
    assert tensor == TensorData(data=[0.5], dtype="float32")
