"""`asample` bodies: they say what was asked for, in the names of the protocol, and nothing else."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.answers import float32, int32, int64
from tinker_sidecar.engine.requests import AsampleEncoder, prompt_length
from tinker_sidecar.ipc.protocol import (
    PackedChunk,
    PackedDmel,
    PackedImage,
    PackedImagePointer,
    PackedParams,
    PackedTensor,
    PackedText,
    RequestSpec,
)

_tokens = st.integers(0, 2**31 - 1)
_formats = st.sampled_from(["png", "jpeg"])
_expected = st.none() | st.integers(1, 10_000)
_chunks: st.SearchStrategy[PackedChunk] = st.one_of(
    st.builds(PackedText, st.lists(_tokens, max_size=5).map(int32)),
    st.builds(PackedImage, st.binary(min_size=1, max_size=9).map(memoryview), _formats, _expected),
    st.builds(PackedImagePointer, st.text(min_size=1, max_size=9), _formats, _expected),
    st.builds(PackedDmel, st.binary(min_size=1, max_size=9).map(memoryview)),
)
_params = st.builds(
    PackedParams,
    st.none() | st.integers(1, 10**6),
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.lists(st.text(min_size=1, max_size=3), max_size=3) | st.lists(_tokens, max_size=3),
    st.floats(0, 10),
    st.integers(-1, 100),
    st.floats(0.01, 1),
)
_tensors = st.one_of(
    st.none(),
    st.builds(
        lambda ids: PackedTensor("int64", [len(ids), 1], int64(ids)),
        st.lists(_tokens, min_size=1, max_size=4),
    ),
    st.just(PackedTensor("float32", [2], float32([0.5, -1.25]))),
    st.just(PackedTensor("int64", [2, 3], int64([7, 8]), int64([0, 1, 2]), int64([2, 0]))),
)
_asks = st.builds(
    RequestSpec,
    id=st.integers(1, 99),
    prompt_bytes=st.integers(0, 99),
    prompt=st.lists(_chunks, min_size=1, max_size=3),
    num_samples=st.integers(1, 64),
    params=_params,
    prompt_logprobs=st.booleans(),
    topk_prompt_logprobs=st.integers(0, 20),
    topk_sample_logprobs=st.integers(0, 20),
    target_prompt_logprobs=_tensors,
    prompt_alt_tokens_k=st.integers(0, 4),
    prompt_logprobs_last_n=st.none() | st.integers(1, 9),
)


def body_of(ask: RequestSpec) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(AsampleEncoder("session:sample:0").encode(ask, 5))
    return body


def chunk_of(fields: dict[str, Any]) -> PackedChunk:
    """The chunk that a server reads out of its JSON."""
    match fields:
        case {"type": "encoded_text", "tokens": tokens, **rest}:
            chunk: PackedChunk = PackedText(int32(tokens))
        case {"type": "image", "data": data, "format": image_format, **rest}:
            chunk = PackedImage(
                memoryview(base64.b64decode(data)), image_format, rest.pop("expected_tokens", None)
            )
        case {"type": "image_asset_pointer", "location": location, "format": image_format, **rest}:
            chunk = PackedImagePointer(location, image_format, rest.pop("expected_tokens", None))
        case {"type": "dmel", "dmel": dmel, **rest}:
            chunk = PackedDmel(memoryview(base64.b64decode(dmel)))
        case _:
            pytest.fail(f"no chunk: {fields}")
    assert rest == {}
    return chunk


def tensor_of(fields: dict[str, Any]) -> PackedTensor:
    pack = int64 if fields["dtype"] == "int64" else float32
    crow, col = (fields.get(f"sparse_{name}_indices") for name in ("crow", "col"))
    return PackedTensor(
        fields["dtype"], fields.get("shape"), pack(fields["data"]), crow and int64(crow), col and int64(col)
    )


@given(_asks)
def test_what_was_asked_for_can_be_read_back(ask: RequestSpec) -> None:
    body = body_of(ask)
    assert (body["sampling_session_id"], body["seq_id"], body["type"]) == ("session:sample:0", 5, "sample")
    assert [chunk_of(chunk) for chunk in body["prompt"]["chunks"]] == ask.prompt
    names = ("max_tokens", "seed", "stop", "temperature", "top_k", "top_p")
    assert PackedParams(*map(body["sampling_params"].get, names)) == ask.params
    assert set(body["sampling_params"]) <= set(names)
    target = body.get("target_prompt_logprobs")
    assert (target and tensor_of(target)) == ask.target_prompt_logprobs
    for name in ("num_samples", "prompt_logprobs", "topk_prompt_logprobs"):
        assert body[name] == getattr(ask, name)
    for name in ("topk_sample_logprobs", "prompt_alt_tokens_k"):
        assert body.get(name, 0) == getattr(ask, name)
    assert body.get("prompt_logprobs_last_n") == ask.prompt_logprobs_last_n


@given(st.lists(st.tuples(_asks, st.integers(0, 10**10)), max_size=4))
def test_requests_may_share_what_they_ask_for(requests: list[tuple[RequestSpec, int]]) -> None:
    encoder = AsampleEncoder('a "session"')
    for number, (ask, seq_id) in enumerate(requests, 1):
        again = msgspec.structs.replace(ask, id=number)
        bodies = [json.loads(encoder.encode(again, seq_id + repetition)) for repetition in range(2)]
        expected = body_of(ask) | {"sampling_session_id": 'a "session"'}
        assert bodies == [expected | {"seq_id": seq_id + repetition} for repetition in range(2)]


@given(_asks)
def test_no_field_is_null_and_newer_ones_come_only_when_used(ask: RequestSpec) -> None:
    body = body_of(ask)
    assert None not in [*body.values(), *body["sampling_params"].values()]
    assert ("topk_sample_logprobs" in body) == bool(ask.topk_sample_logprobs)
    assert ("prompt_alt_tokens_k" in body) == bool(ask.prompt_alt_tokens_k)
    assert ("prompt_logprobs_last_n" in body) == (ask.prompt_logprobs_last_n is not None)
    assert ("target_prompt_logprobs" in body) == (ask.target_prompt_logprobs is not None)


@given(st.lists(_chunks, max_size=4))
def test_the_length_is_that_of_the_parts_or_unknown(chunks: list[PackedChunk]) -> None:
    lengths = [prompt_length([chunk]) for chunk in chunks]
    known = [length for length in lengths if length is not None]
    assert prompt_length(chunks) == (sum(known) if len(known) == len(lengths) else None)
    text = [chunk for chunk in chunks if isinstance(chunk, PackedText)]
    assert prompt_length(list(text)) == sum(len(chunk.tokens) // 4 for chunk in text)
