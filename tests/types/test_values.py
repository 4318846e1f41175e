"""Every public type is a value: it compares, hashes, copies and pickles as what it holds."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
from typing import Any

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinker_client import types
from tinker_client.types import (
    DmelChunk,
    EncodedTextChunk,
    GetServerCapabilitiesResponse,
    ImageAssetPointerChunk,
    ImageChunk,
    ModelInput,
    PromptAltTokens,
    RequestErrorCategory,
    SampledSequence,
    SampleResponse,
    SamplingParams,
    SupportedModel,
    TensorData,
    TopkLogprobs,
)


def _sequence(token: int) -> SampledSequence:
    return SampledSequence("stop", "id", tokens=[token], logprobs=[-0.1], topk_logprobs=[[(token, -0.1)]])


def _sparse(column: int) -> TensorData:
    return TensorData([1.5], "float32", [1, 9], [0, 1], [column])


MAKERS: dict[str, Any] = {
    "DmelChunk": lambda n: DmelChunk(dmel=bytes([n])),
    "EncodedTextChunk": lambda n: EncodedTextChunk(tokens=[n]),
    "GetServerCapabilitiesResponse": lambda n: GetServerCapabilitiesResponse(
        supported_models=[SupportedModel(model_name=f"model-{n}")]
    ),
    "ImageAssetPointerChunk": lambda n: ImageAssetPointerChunk(location=f"s3://{n}", format="png"),
    "ImageChunk": lambda n: ImageChunk(data=bytes([n]), format="jpeg", expected_tokens=3),
    "ModelInput": lambda n: ModelInput.from_ints([n]).append(ImageChunk(data=b"x", format="png")),
    "PromptAltTokens": lambda n: PromptAltTokens(TensorData([n], "int64"), _sparse(n)),
    "RequestErrorCategory": lambda n: list(RequestErrorCategory)[n - 1],
    "SampleResponse": lambda n: SampleResponse(
        [_sequence(n)],
        prompt_logprobs=[None, -0.1],
        topk_prompt_logprobs=[None, [(n, -0.1)]],
        target_prompt_logprobs=_sparse(n),
        prompt_alt_tokens=PromptAltTokens(TensorData([n], "int64"), TensorData([0.5], "float32")),
    ),
    "SampledSequence": _sequence,
    "SamplingParams": lambda n: SamplingParams(max_tokens=n, stop=("a",)),
    "SupportedModel": lambda n: SupportedModel(model_name="m", max_context_length=n),
    "TensorData": _sparse,
    "TopkLogprobs": lambda n: TopkLogprobs([[n, 2]], [[-0.5, math.nan]]),
}
UNHASHABLE = {"GetServerCapabilitiesResponse", "ModelInput", "TopkLogprobs"}
"""They hold lists or arrays that their owner can change; so does the official SDK's."""

EVERY_TYPE = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def test_no_type_is_left_out() -> None:
    assert set(MAKERS) == {name for name in types.__all__ if inspect.isclass(getattr(types, name))}


@EVERY_TYPE
def test_types_compare_by_value(make: Any) -> None:
    assert make(1) == make(1)
    assert make(1) != make(2)
    assert make(1) != "something else"
    assert make(1) is not None


@pytest.mark.parametrize("name", MAKERS)
def test_hashes_agree_with_comparison(name: str) -> None:
    make = MAKERS[name]
    if name in UNHASHABLE:
        with pytest.raises(TypeError, match="unhashable"):
            hash(make(1))
    else:
        assert len({make(1), make(1), make(2)}) == 2


@EVERY_TYPE
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_types_pickle(make: Any, protocol: int) -> None:
    original = make(1)
    assert pickle.loads(pickle.dumps(original, protocol)) == original


@EVERY_TYPE
@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda value: pickle.loads(cloudpickle.dumps(value))]
)
def test_types_copy(make: Any, duplicate: Any) -> None:
    original = make(1)
    copied = duplicate(original)
    assert copied == original
    assert type(copied) is type(original)
    assert repr(copied) == repr(original)


@EVERY_TYPE
def test_reprs_are_short_and_name_the_type(make: Any) -> None:
    shown = repr(make(1))
    assert type(make(1)).__name__ in shown
    assert len(shown) < 250


@EVERY_TYPE
def test_values_do_not_change(make: Any) -> None:
    value = make(1)
    if isinstance(value, RequestErrorCategory):
        pytest.skip("an enum, which is a str")
    for name in [name for name in dir(type(value)) if not name.startswith("_")]:
        with pytest.raises(AttributeError):
            setattr(value, name, None)


@pytest.mark.parametrize("read_first", [False, True])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_response_pickles_before_and_after_decoding(
    full_payload: bytes, read_first: bool, protocol: int
) -> None:
    response = SampleResponse.from_wire(memoryview(full_payload))
    if read_first:
        _ = response.sequences[0].tokens_np, response.prompt_logprobs, response.topk_prompt_logprobs_np
    pickled = pickle.dumps(response, protocol)
    restored = pickle.loads(pickled)
    assert restored == response
    assert restored.sequences[0].topk_logprobs == response.sequences[0].topk_logprobs
    # What has been decoded does not travel too.
    assert pickled == pickle.dumps(SampleResponse.from_wire(full_payload), protocol)


def test_lists_given_survive_pickling_digit_for_digit() -> None:
    restored = pickle.loads(pickle.dumps(MAKERS["SampleResponse"](1)))
    assert restored.prompt_logprobs == [None, -0.1]
    assert restored.topk_prompt_logprobs == [None, [(1, -0.1)]]
    assert restored.sequences[0].logprobs == [-0.1]


@given(st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=5), max_size=4))
def test_prompts_pickle_whatever_they_hold(chunks: list[list[int]]) -> None:
    prompt = ModelInput(chunks=[EncodedTextChunk(tokens=tokens) for tokens in chunks])
    restored = pickle.loads(pickle.dumps(prompt))
    assert restored == prompt
    assert restored.to_wire() == prompt.to_wire()
