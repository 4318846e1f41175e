"""Prompts: what they take, what they refuse, how they are packed."""

from __future__ import annotations

import base64
import struct
from array import array
from collections import deque
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinker_client.types import (
    DmelChunk,
    EncodedTextChunk,
    ImageAssetPointerChunk,
    ImageChunk,
    ModelInput,
    ModelInputChunk,
)
from tinker_sidecar.ipc import protocol

TOKENS = st.lists(st.integers(0, 2**31 - 1))
NOT_TOKENS = st.one_of(
    st.booleans(), st.floats(), st.text(), st.none(), st.integers(max_value=-1), st.integers(min_value=2**31)
)


def test_a_prompt_is_built_up_from_chunks() -> None:
    image = ImageChunk(data=b"png bytes", format="png", expected_tokens=7)
    prompt = ModelInput.empty().append(EncodedTextChunk(tokens=[1, 2])).append(image).append_int(3)
    assert prompt.chunks == [EncodedTextChunk(tokens=[1, 2]), image, EncodedTextChunk(tokens=[3])]
    assert prompt.length == 10
    assert ModelInput(chunks=prompt.chunks) == prompt


def test_appending_leaves_the_prompt_as_it_was() -> None:
    prompt = ModelInput.from_ints([1])
    assert prompt.append_int(2).to_ints() == [1, 2]
    assert prompt.to_ints() == [1]


def test_the_caller_keeps_their_lists() -> None:
    tokens, chunks = [1, 2], [EncodedTextChunk(tokens=[1])]
    chunk, prompt = EncodedTextChunk(tokens=tokens), ModelInput(chunks=chunks)
    tokens.append(3)
    chunks.append(chunk)
    assert chunk.tokens == [1, 2]
    assert prompt.to_ints() == [1]


@given(TOKENS)
def test_token_ids_survive_packing(tokens: list[int]) -> None:
    prompt = ModelInput.from_ints(tokens)
    (wire,) = prompt.to_wire()
    assert isinstance(wire, protocol.PackedText)
    assert bytes(wire.tokens) == b"".join(struct.pack("<i", token) for token in tokens)
    assert prompt.to_ints() == tokens == prompt.chunks[0].tokens  # type: ignore[union-attr]
    assert prompt.length == len(tokens)


@given(TOKENS)
def test_tokens_come_in_many_containers(tokens: list[int]) -> None:
    same = [
        tuple(tokens),
        deque(tokens),
        array("q", tokens),
        memoryview(array("q", tokens)),
        np.array(tokens, dtype=np.int64),
        np.array(tokens, dtype=np.uint32),
        list(np.array(tokens, dtype=np.int64)),
    ]
    assert all(ModelInput.from_ints(given) == ModelInput.from_ints(tokens) for given in same)


def test_a_range_will_do() -> None:
    assert ModelInput.from_ints(range(3)).to_ints() == [0, 1, 2]


def test_torch_tensors_will_do() -> None:
    torch = pytest.importorskip("torch")
    assert ModelInput.from_ints(torch.tensor([1, 2])).to_ints() == [1, 2]
    assert ModelInput.from_ints(list(torch.tensor([1, 2]))).to_ints() == [1, 2]
    with pytest.raises(ValueError, match="one-dimensional"):
        ModelInput.from_ints(torch.tensor([[1, 2]]))


@given(TOKENS, NOT_TOKENS, TOKENS)
def test_what_is_not_a_token_id_is_refused_by_name(before: list[int], wrong: Any, after: list[int]) -> None:
    with pytest.raises(
        (TypeError, ValueError), match=rf"tokens\[{len(before)}\] must be a token id"
    ) as caught:
        ModelInput.from_ints([*before, wrong, *after])
    assert caught.type is (ValueError if type(wrong) is int else TypeError)


@pytest.mark.parametrize(
    ("tokens", "error", "message"),
    [
        ("hello", TypeError, "sequence of token ids, got str: 'hello'"),
        (b"hello", TypeError, "sequence of token ids, got bytes"),
        (7, TypeError, "sequence of token ids, got int: 7"),
        ({1, 2}, TypeError, "sequence of token ids, got set"),
        ({"input_ids": [1]}, TypeError, "sequence of token ids, got dict"),
        (None, TypeError, "sequence of token ids, got NoneType"),
        (np.array([[1, 2]]), ValueError, r"one-dimensional, got an array of shape \(1, 2\)"),
        (np.array(3), ValueError, r"one-dimensional, got an array of shape \(\)"),
        (np.array([1.0]), TypeError, r"tokens\[0\] must be .* got float: 1.0"),
        (np.array([True]), TypeError, r"tokens\[0\] must be .* got bool: True"),
        ([np.array([1, 2])], TypeError, r"tokens\[0\] must be .* got ndarray"),
        (np.array([2**31]), ValueError, "0..2147483647, got int: 2147483648"),
    ],
)
def test_what_is_not_a_sequence_of_ids_is_refused(tokens: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ModelInput.from_ints(tokens)


def test_packing_is_done_once() -> None:
    prompt = ModelInput.from_ints([1, 2, 3])
    first, second = prompt.to_wire()[0], prompt.to_wire()[0]
    assert first.tokens.obj is second.tokens.obj  # type: ignore[union-attr]


def test_changing_the_list_of_a_chunk_does_not_change_the_chunk() -> None:
    chunk = EncodedTextChunk(tokens=[1, 2])
    chunk.tokens.append(3)
    assert chunk == EncodedTextChunk(tokens=[1, 2])
    assert chunk.length == 2
    assert bytes(chunk.to_wire().tokens) == struct.pack("<2i", 1, 2)


def test_chunks_as_they_travel() -> None:
    prompt = ModelInput(
        chunks=[
            ImageChunk(data=b"\x89PNG", format="png", expected_tokens=5),
            ImageAssetPointerChunk(location="s3://a", format="jpeg"),
            DmelChunk(dmel=b"\x00\x01\x02"),
        ]
    )
    assert prompt.to_wire() == [
        protocol.PackedImage(memoryview(b"\x89PNG"), "png", 5),
        protocol.PackedImagePointer("s3://a", "jpeg", None),
        protocol.PackedDmel(memoryview(b"\x00\x01\x02")),
    ]


@pytest.mark.parametrize("data", [b"pixels", bytearray(b"pixels"), memoryview(b"pixels"), "cGl4ZWxz"])
def test_image_data_is_bytes_or_base64(data: Any) -> None:
    assert ImageChunk(data=data, format="png").data == b"pixels"
    assert DmelChunk(dmel=data).dmel == b"pixels"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"data": b""}, ValueError, "data must be .* not empty"),
        ({"data": ""}, ValueError, "data must be .* not empty"),
        ({"data": "not base64!"}, ValueError, "not base64"),
        ({"data": "é"}, ValueError, "not base64"),
        ({"data": None}, TypeError, "data must be .* got NoneType"),
        ({}, TypeError, "data"),
        ({"data": b"x", "format": "gif"}, ValueError, "format must be 'png' or 'jpeg', got str: 'gif'"),
        ({"data": b"x", "expected_tokens": 0}, ValueError, "expected_tokens must be a positive int"),
        ({"data": b"x", "expected_tokens": 1.5}, TypeError, "expected_tokens must be a positive int"),
        ({"data": b"x", "type": "dmel"}, ValueError, "type must be 'image'"),
        ({"data": b"x", "size": 3}, TypeError, "size"),
    ],
)
def test_a_wrong_image_is_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ImageChunk(**{"format": "png", **arguments})


@pytest.mark.parametrize("location", ["", None, 3])
def test_an_image_pointer_needs_a_location(location: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="location must be a path or URL"):
        ImageAssetPointerChunk(location=location, format="png")


@pytest.mark.parametrize(
    "chunk", [ImageChunk(data=b"x", format="png"), ImageAssetPointerChunk(location="x", format="png")]
)
def test_the_length_of_an_image_must_be_said(chunk: ModelInputChunk) -> None:
    with pytest.raises(ValueError, match="expected_tokens"):
        _ = ModelInput(chunks=[chunk]).length


@pytest.mark.parametrize(
    ("header", "length"),
    [(b"\x00\x02\x03\x04", 3), (b"\xfe\x00\x01\x09", 9), (b"\x07\x01\xac\x02", 300)],
)
def test_the_length_of_audio_is_in_its_header(header: bytes, length: int) -> None:
    assert DmelChunk(dmel=header + b"the rest").length == length


@given(st.binary(min_size=1, max_size=24))
def test_any_header_gives_a_length_or_a_clear_error(header: bytes) -> None:
    with suppress(ValueError):
        assert DmelChunk(dmel=header).length >= 0


def test_to_ints_is_for_text() -> None:
    prompt = ModelInput(chunks=[ImageChunk(data=b"x", format="png")])
    with pytest.raises(ValueError, match="text alone, but it has an ImageChunk"):
        prompt.to_ints()


@pytest.mark.parametrize("chunks", [None, "text", 3, [3], [None], [[1, 2]], [{"type": "video"}]])
def test_what_is_not_chunks_is_refused(chunks: Any) -> None:
    with pytest.raises(TypeError, match="chunk"):
        ModelInput(chunks=chunks)


def test_a_dump_is_json_and_comes_back() -> None:
    prompt = ModelInput(
        chunks=[
            EncodedTextChunk(tokens=[1, 2]),
            ImageChunk(data=b"\xff\xd8", format="jpeg"),
            ImageAssetPointerChunk(location="s3://a", format="png", expected_tokens=3),
            DmelChunk(dmel=b"\x00"),
        ]
    )
    dumped = prompt.model_dump()
    assert dumped["chunks"][0] == {"tokens": [1, 2], "type": "encoded_text"}
    assert dumped["chunks"][1]["data"] == base64.b64encode(b"\xff\xd8").decode()
    assert ModelInput(**dumped) == prompt


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("Hello", r"prompt must be a types.ModelInput \(encode text with the tokenizer"),
        ([1, 2], "use ModelInput.from_ints for token ids"),
        (np.array([1]), "use ModelInput.from_ints for token ids"),
        (None, "prompt must be a types.ModelInput, got NoneType"),
    ],
)
def test_what_is_not_a_prompt_is_refused_with_advice(value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        ModelInput.coerce(value)


def test_a_prompt_is_itself() -> None:
    prompt = ModelInput.from_ints([1])
    assert ModelInput.coerce(prompt) is prompt


def test_reprs_are_short() -> None:
    assert repr(ModelInput.from_ints([1, 2])) == "ModelInput(chunks=[EncodedTextChunk(tokens=[1, 2])])"
    assert len(repr(ModelInput.from_ints(range(100_000)))) < 200
    assert "<100000 bytes>" in repr(ImageChunk(data=bytes(100_000), format="png"))
    assert "<100000 bytes>" in repr(DmelChunk(dmel=bytes(100_000)))
