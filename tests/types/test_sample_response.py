"""Responses: decoded when asked, as the lists and arrays that the official SDK gives."""

from __future__ import annotations

import math
import threading
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.types.wire import float32, int32
from tinker_client.errors import APIResponseValidationError
from tinker_client.types import PromptAltTokens, SampledSequence, SampleResponse, TensorData, TopkLogprobs
from tinker_sidecar.ipc import protocol

FLOATS = st.floats(width=32, allow_nan=False)
TOKENS = st.lists(st.integers(0, 2**31 - 1), max_size=20)

LAZY = [
    "sequences",
    "prompt_logprobs",
    "prompt_logprobs_np",
    "topk_prompt_logprobs",
    "topk_prompt_logprobs_np",
    "target_prompt_logprobs",
    "prompt_alt_tokens",
]


def response_of(result: protocol.SampleResult) -> SampleResponse:
    return SampleResponse.from_wire(msgspec.msgpack.encode(result))


def read_everything(response: SampleResponse) -> None:
    """Every attribute, of the completions too, and what operators make of them."""
    for name in [*LAZY, "samples", "prompt_cache_hit_tokens"]:
        getattr(response, name)
    for sequence in response.sequences:
        for name in ("tokens", "logprobs", "topk_logprobs"):
            getattr(sequence, name)
            getattr(sequence, f"{name}_np")
        repr(sequence), hash(sequence)
    repr(response), hash(response)


def test_a_full_result(full_payload: bytes) -> None:
    response = SampleResponse.from_wire(full_payload)
    assert response.samples is response.sequences
    assert response.prompt_logprobs == [None, -1.5, -2.5]
    assert response.topk_prompt_logprobs == [None, [(3, -1.5)], [(4, -2.5)]]
    assert response.prompt_cache_hit_tokens == 2
    assert response.target_prompt_logprobs == TensorData(data=[[-1, 0], [-2, -3]], dtype="float32")
    assert response.prompt_alt_tokens == PromptAltTokens(
        TensorData(data=[[8], [9]], dtype="int64"), TensorData(data=[[-4], [-5]], dtype="float32")
    )
    first, second = response.sequences
    assert (first.stop_reason, first.sequence_id) == ("stop", "seq-a")
    assert first.tokens == [5, 6]
    assert first.logprobs == [-0.5, -0.25]
    assert first.topk_logprobs == [[(5, -0.5), (9, -2.0)], [(6, -0.25)]]
    assert (second.stop_reason, second.tokens) == ("length", [7])
    assert second.logprobs is second.logprobs_np is second.topk_logprobs is second.topk_logprobs_np is None


def test_a_bare_result() -> None:
    response = response_of(protocol.SampleResult([]))
    assert response.sequences == []
    assert response.prompt_cache_hit_tokens == 0
    assert all(getattr(response, name) is None for name in LAZY[1:])


def test_lists_are_lists_and_are_kept(full_payload: bytes) -> None:
    response = SampleResponse.from_wire(full_payload)
    lists = [response.sequences, response.prompt_logprobs, response.topk_prompt_logprobs]
    for sequence in response.sequences[:1]:
        lists += [sequence.tokens, sequence.logprobs, sequence.topk_logprobs, sequence.topk_logprobs[0]]
    assert all(type(listed) is list for listed in lists)
    for name in LAZY:
        assert getattr(response, name) is getattr(response, name)
    assert response.sequences[0].tokens is response.sequences[0].tokens


def test_arrays(full_payload: bytes) -> None:
    response = SampleResponse.from_wire(full_payload)
    first = response.sequences[0]
    np.testing.assert_array_equal(first.tokens_np, np.array([5, 6], dtype=np.int32), strict=True)
    np.testing.assert_array_equal(first.logprobs_np, np.array([-0.5, -0.25], dtype=np.float32), strict=True)
    prompt = np.array([np.nan, -1.5, -2.5], dtype=np.float32)
    np.testing.assert_array_equal(response.prompt_logprobs_np, prompt, strict=True)
    assert first.topk_logprobs_np == TopkLogprobs([[5, 9], [6, 0]], [[-0.5, -2], [-0.25, -99999.0]])
    assert response.topk_prompt_logprobs_np.token_ids.shape == (3, 1)


def test_arrays_are_the_callers_own(full_payload: bytes) -> None:
    response = SampleResponse.from_wire(full_payload)
    response.sequences[0].tokens_np[0] = 99
    response.prompt_logprobs_np[:] = 0
    assert response.sequences[0].tokens == [5, 6]
    assert response == SampleResponse.from_wire(full_payload)


@given(
    tokens=TOKENS, logprobs=st.lists(FLOATS, max_size=20), prompt=st.lists(st.none() | FLOATS, max_size=20)
)
def test_what_goes_in_comes_out(tokens: list[int], logprobs: list[float], prompt: list[float | None]) -> None:
    result = protocol.SampleResult(
        [protocol.PackedSequence("stop", "", int32(*tokens), float32(*logprobs))],
        float32(*[math.nan if value is None else value for value in prompt]),
    )
    response = response_of(result)
    (sequence,) = response.sequences
    assert sequence.tokens == tokens == sequence.tokens_np.tolist()
    assert sequence.logprobs == logprobs == sequence.logprobs_np.tolist()
    assert response.prompt_logprobs == prompt
    made = SampleResponse([SampledSequence("stop", tokens=tokens, logprobs=logprobs)], prompt_logprobs=prompt)
    assert made == response
    assert hash(made) == hash(response)


@given(
    st.lists(
        st.none()
        | st.lists(st.tuples(st.integers(1, 9), FLOATS.filter(lambda x: x > -99)), min_size=1, max_size=3),
        min_size=1,
    ).filter(any)
)
def test_rows_of_pairs_survive(rows: list[list[tuple[int, float]] | None]) -> None:
    sequence = SampledSequence("stop", topk_logprobs=rows)
    # `from_wire` decodes, where the sequence gives back what it was given.
    response = response_of(protocol.SampleResult([sequence.to_wire()]))
    assert sequence.topk_logprobs == response.sequences[0].topk_logprobs == rows
    matrices = response.sequences[0].topk_logprobs_np
    assert matrices.token_ids.shape == (len(rows), max(len(row or ()) for row in rows))
    assert SampledSequence("stop", topk_logprobs_np=matrices) == sequence


def test_no_rows_are_no_topk() -> None:
    sequence = protocol.PackedSequence("stop", "", int32(), None, protocol.PackedTopK(5, int32(), float32()))
    (view,) = response_of(protocol.SampleResult([sequence])).sequences
    assert view.topk_logprobs is view.topk_logprobs_np is None


def test_lists_given_are_given_back_digit_for_digit() -> None:
    sequence = SampledSequence(stop_reason="stop", tokens=[1, 2], logprobs=[-0.1, -0.2])
    response = SampleResponse(sequences=[sequence], prompt_logprobs=[None, -0.3])
    assert sequence.logprobs == [-0.1, -0.2]
    assert response.prompt_logprobs == [None, -0.3]
    assert response.sequences[0].logprobs == [-0.1, -0.2]
    assert sequence.logprobs_np.dtype == np.float32


def test_arguments_as_the_official_sdk_takes_them() -> None:
    tokens, logprobs = np.array([1, 2], dtype=np.int32), np.array([-1, -2], dtype=np.float32)
    topk = TopkLogprobs(np.array([[1], [2]]), np.array([[-1], [-2]]))
    sequence = SampledSequence("length", "id", tokens, logprobs, topk)
    assert sequence.tokens == [1, 2]
    assert sequence.topk_logprobs == [[(1, -1.0)], [(2, -2.0)]]
    response = SampleResponse([sequence], logprobs, topk, None, 3)
    assert response.prompt_logprobs == [-1.0, -2.0]
    assert response.topk_prompt_logprobs == sequence.topk_logprobs
    assert response.prompt_cache_hit_tokens == 3


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"stop_reason": "eos"}, ValueError, "stop_reason must be 'length' or 'stop', got str: 'eos'"),
        ({"sequence_id": None}, TypeError, "sequence_id must be a string"),
        ({"tokens": [-1]}, ValueError, r"tokens\[0\]"),
        ({"tokens": [1], "tokens_np": np.array([1])}, TypeError, "tokens or tokens_np, not both"),
        ({"logprobs": ["a"]}, TypeError, r"logprobs\[0\] must be a number"),
        ({"logprobs": [1e300]}, ValueError, "logprobs must be numbers that fit float32"),
        ({"logprobs_np": np.zeros((2, 2))}, ValueError, "logprobs must be one-dimensional"),
        ({"topk_logprobs": "ab"}, TypeError, "topk_logprobs must be"),
    ],
)
def test_a_wrong_sequence_is_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SampledSequence(**{"stop_reason": "stop", **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sequences": [3]}, r"sequences\[0\] must be a SampledSequence"),
        ({"target_prompt_logprobs": [1.0]}, "target_prompt_logprobs must be a types.TensorData"),
        ({"prompt_alt_tokens": ([1], [1.0])}, "prompt_alt_tokens must be a PromptAltTokens"),
        ({"prompt_cache_hit_tokens": None}, "prompt_cache_hit_tokens must be an int"),
    ],
)
def test_a_wrong_response_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        SampleResponse(**{"sequences": [], **arguments})


@pytest.mark.parametrize(
    ("token_ids", "logprobs"), [([1, 2], [-1, -2]), ([[1, 2]], [[-1]]), ([[[1]]], [[[-1]]])]
)
def test_topk_matrices_have_one_shape(token_ids: Any, logprobs: Any) -> None:
    with pytest.raises(ValueError, match="matrices of one shape"):
        TopkLogprobs(token_ids, logprobs)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"sequences": [("stop", "", b"123", None)]}, r"sequences\[0\].tokens has 3 bytes"),
        ({"sequences": [("stop", "", b"", b"1")]}, r"sequences\[0\].logprobs has 1 bytes"),
        ({"sequences": [("eos", "", b"", None)]}, r"Invalid enum value 'eos'.*\[0\]\[0\]\[0\]"),
        (
            {"sequences": [("stop", "", b"", None, (2, b"1234", b"1234"))]},
            r"topk_logprobs has 4 and 4 bytes for k=2",
        ),
        ({"prompt_logprobs": b"12345"}, "prompt_logprobs has 5 bytes"),
        ({"topk_prompt_logprobs": (1, b"1234", b"")}, "topk_prompt_logprobs has 4 and 0 bytes for k=1"),
        ({"topk_prompt_logprobs": (0, b"1234", b"1234")}, "topk_prompt_logprobs has 4 and 4 bytes for k=0"),
        ({"target_prompt_logprobs": ("int8", None, b"")}, "unknown dtype 'int8'"),
        ({"target_prompt_logprobs": ("int64", [2], b"12345678")}, "shape must hold the 1 values"),
        ({"prompt_alt_tokens": (("int64", [1], b"12345678"), ("int64", None, b"1"))}, "data has 1 bytes"),
    ],
)
def test_a_malformed_result_names_the_field(result: dict[str, Any], message: str) -> None:
    fields: dict[str, Any] = {
        "sequences": [],
        "prompt_logprobs": None,
        "topk_prompt_logprobs": None,
        "prompt_cache_hit_tokens": 0,
        "target_prompt_logprobs": None,
        "prompt_alt_tokens": None,
    }
    response = SampleResponse.from_wire(msgspec.msgpack.encode(list({**fields, **result}.values())))
    with pytest.raises(APIResponseValidationError, match=message):
        read_everything(response)


@given(st.data())
def test_damaged_payloads_are_read_or_refused(full_payload: bytes, data: st.DataObject) -> None:
    damaged = bytearray(full_payload)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    del damaged[data.draw(st.integers(0, len(damaged))) :]
    read_or_refused(bytes(damaged))


@given(st.binary(max_size=64))
def test_noise_is_refused(noise: bytes) -> None:
    read_or_refused(noise)


def read_or_refused(payload: bytes) -> None:
    response = SampleResponse.from_wire(payload)
    with suppress(APIResponseValidationError):
        read_everything(response)
    assert repr(response).startswith("SampleResponse(")


def test_a_result_may_gain_fields(full_result: protocol.SampleResult) -> None:
    """An older client reads what a newer sidecar sends."""
    fields = msgspec.to_builtins(full_result, builtin_types=(memoryview,))
    newer = SampleResponse.from_wire(msgspec.msgpack.encode([*fields, "new"]))
    assert newer == response_of(full_result)


def test_reprs_show_counts() -> None:
    response = response_of(
        protocol.SampleResult([protocol.PackedSequence("length", "a", int32(*range(100_000)), None)])
    )
    assert repr(response) == "SampleResponse(1 sequences, 100000 tokens)"
    assert repr(response.sequences[0]) == (
        "SampledSequence(stop_reason='length', sequence_id='a', "
        "tokens=[0, 1, 2, 3, 4, 5, 6, 7, ... 99992 more])"
    )
    assert repr(TopkLogprobs([[1, 2]], [[-1, -2]])) == "TopkLogprobs(positions=1, k=2)"
    assert repr(SampleResponse.from_wire(b"no")) == "SampleResponse(<2 malformed bytes>)"


def test_responses_do_not_change(full_payload: bytes) -> None:
    response = SampleResponse.from_wire(full_payload)
    for name in ("sequences", "samples", "prompt_logprobs", "unheard_of"):
        with pytest.raises(AttributeError):
            setattr(response, name, [])
    with pytest.raises(AttributeError):
        del response.sequences


def test_all_threads_get_the_same_lists(full_payload: bytes) -> None:
    response = SampleResponse.from_wire(full_payload)
    start, seen = threading.Barrier(8), []

    def read() -> None:
        start.wait()
        seen.append((response.sequences, response.sequences[0].tokens, response.prompt_logprobs))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(one is other for got in seen for one, other in zip(got, seen[0], strict=True))
