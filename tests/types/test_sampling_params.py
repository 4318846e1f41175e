"""Sampling parameters: the defaults, what is allowed, how they travel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinker_client.types import SamplingParams
from tinker_sidecar.ipc import protocol


def test_defaults() -> None:
    params = SamplingParams()
    assert params.to_wire() == protocol.PackedParams(None, None, None, 1.0, -1, 1.0)


@pytest.mark.parametrize(
    ("stop", "wire"),
    [
        (None, None),
        ("END", ["END"]),
        (["a", "b"], ["a", "b"]),
        (("a",), ["a"]),
        ([1, 2], [1, 2]),
        ([], []),
        (np.array([3, 4]), [3, 4]),
        ([np.int64(5)], [5]),
    ],
)
def test_stop_takes_strings_or_ids(stop: Any, wire: Any) -> None:
    assert SamplingParams(stop=stop).to_wire().stop == wire


def test_stop_is_kept_as_given() -> None:
    assert SamplingParams(stop="a").stop == "a"
    assert SamplingParams(stop=["a"]).stop == ["a"]
    assert SamplingParams(stop=("a",)).stop == ("a",)


@given(
    max_tokens=st.none() | st.integers(1, 2**31 - 1),
    seed=st.none() | st.integers(-(2**63), 2**63 - 1),
    temperature=st.floats(0, 1e6),
    top_k=st.just(-1) | st.integers(1, 2**31 - 1),
    top_p=st.floats(0, 1, exclude_min=True),
)
def test_what_is_allowed_travels_unchanged(**arguments: Any) -> None:
    params, wire = SamplingParams(**arguments), SamplingParams(**arguments).to_wire()
    for name, value in arguments.items():
        assert getattr(params, name) == getattr(wire, name) == value


def test_numbers_of_numpy_are_numbers() -> None:
    params = SamplingParams(
        max_tokens=np.int32(3), temperature=np.float32(0.5), seed=np.int64(7), top_p=np.float64(1)
    )
    assert params == SamplingParams(max_tokens=3, temperature=0.5, seed=7)
    assert type(params.max_tokens) is int
    assert type(params.temperature) is float


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("max_tokens", 0, ValueError),
        ("max_tokens", -1, ValueError),
        ("max_tokens", 2**31, ValueError),
        ("max_tokens", 3.0, TypeError),
        ("max_tokens", True, TypeError),
        ("max_tokens", "3", TypeError),
        ("seed", 1.5, TypeError),
        ("seed", "1", TypeError),
        ("seed", 2**63, ValueError),
        ("temperature", -0.1, ValueError),
        ("temperature", math.nan, ValueError),
        ("temperature", math.inf, ValueError),
        ("temperature", 10**400, ValueError),
        ("temperature", "hot", TypeError),
        ("temperature", None, TypeError),
        ("temperature", True, TypeError),
        ("temperature", np.array([0.5, 0.7]), TypeError),
        ("top_k", 0, ValueError),
        ("top_k", -2, ValueError),
        ("top_k", 1.0, TypeError),
        ("top_k", None, TypeError),
        ("top_p", 0, ValueError),
        ("top_p", 1.1, ValueError),
        ("top_p", math.nan, ValueError),
        ("top_p", "1", TypeError),
        ("stop", ["a", 1], TypeError),
        ("stop", [1, "a"], TypeError),
        ("stop", 5, TypeError),
        ("stop", b"a", TypeError),
        ("stop", {"a"}, TypeError),
        ("stop", [1.5], TypeError),
        ("stop", [True], TypeError),
        ("stop", [None], TypeError),
        ("stop", [-1], ValueError),
        ("stop", [2**31], ValueError),
        ("stop", "", ValueError),
        ("stop", ["a", ""], ValueError),
    ],
)
def test_what_is_not_allowed_is_refused_by_name(name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(
        error, match=rf"^{name}.* must be .*, got {type(value).__name__}|^{name}\[\d\] must be"
    ):
        SamplingParams(**{name: value})


def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises(TypeError, match="max_token"):
        SamplingParams(max_token=3)  # type: ignore[call-arg]


def test_a_copy_with_changes_is_checked() -> None:
    params = SamplingParams(max_tokens=3)
    assert params.model_copy(update={"seed": 1}) == SamplingParams(max_tokens=3, seed=1)
    with pytest.raises(ValueError, match="top_p"):
        params.model_copy(update={"top_p": 2})


def test_params_do_not_change() -> None:
    with pytest.raises(AttributeError):
        SamplingParams().seed = 3  # type: ignore[misc]


def test_params_are_keys_unless_stop_is_a_list() -> None:
    assert len({SamplingParams(seed=1), SamplingParams(seed=1), SamplingParams(stop=("a",))}) == 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(SamplingParams(stop=["a"]))


@pytest.mark.parametrize("value", [None, {"max_tokens": 3}, "greedy"])
def test_what_is_not_params_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=r"sampling_params must be a types.SamplingParams, got"):
        SamplingParams.coerce(value)


def test_params_are_themselves() -> None:
    params = SamplingParams()
    assert SamplingParams.coerce(params) is params
