"""Results in both encodings, whatever an engine may say."""

from __future__ import annotations

import json
import math
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinker_sidecar.local_server.engines import Completion, GenerationResult, TopKRows
from tinker_sidecar.local_server.results import to_json, to_protobuf
from tinker_sidecar.proto.sample_response_pb2 import SampleResponse

tokens = st.integers(0, 2**31 - 1)
logprobs = st.floats(-1000, 0, width=32)


@st.composite
def topks(draw: st.DrawFn, length: int, *, first: bool) -> TopKRows:
    k = draw(st.integers(1, 4))
    row = st.lists(st.tuples(tokens, logprobs), min_size=1, max_size=k)
    rows: list[list[tuple[int, float]] | None] = [draw(row) for _ in range(length)]
    if first:
        rows[0] = None
    return TopKRows(k, rows)


@st.composite
def completions(draw: st.DrawFn) -> Completion:
    sampled = draw(st.lists(tokens, max_size=6))
    return Completion(
        tokens=sampled,
        logprobs=draw(st.lists(logprobs, min_size=len(sampled), max_size=len(sampled))),
        stop_reason=draw(st.sampled_from(["stop", "length"])),
        topk_logprobs=draw(st.none() | topks(len(sampled), first=False)),
    )


@st.composite
def results(draw: st.DrawFn) -> GenerationResult:
    length = draw(st.integers(1, 6))
    return GenerationResult(
        completions=draw(st.lists(completions(), min_size=1, max_size=3)),
        prompt_logprobs=draw(st.none() | st.lists(st.none() | logprobs, min_size=length, max_size=length)),
        topk_prompt_logprobs=draw(st.none() | topks(length, first=True)),
        prompt_cache_hit_tokens=draw(st.integers(0, 1000)),
    )


@given(results())
def test_json_says_what_the_engine_said(result: GenerationResult) -> None:
    answer = json.loads(to_json(to_protobuf(result, None)))
    assert [sequence["tokens"] for sequence in answer["sequences"]] == [c.tokens for c in result.completions]
    assert [sequence["logprobs"] for sequence in answer["sequences"]] == [
        c.logprobs for c in result.completions
    ]
    assert [sequence["stop_reason"] for sequence in answer["sequences"]] == [
        c.stop_reason for c in result.completions
    ]
    assert [sequence.get("topk_logprobs") for sequence in answer["sequences"]] == [
        as_lists(c.topk_logprobs) for c in result.completions
    ]
    assert answer.get("prompt_logprobs") == result.prompt_logprobs
    assert answer.get("topk_prompt_logprobs") == as_lists(result.topk_prompt_logprobs)
    assert answer["prompt_cache_hit_tokens"] == result.prompt_cache_hit_tokens


def as_lists(topk: TopKRows | None) -> list[list[list[float]] | None] | None:
    if topk is None:
        return None
    return [row and [list(cell) for cell in row] for row in topk.rows]


def test_the_bytes_of_a_result() -> None:
    """What the protocol says of field numbers and array layouts, spelled out."""
    result = GenerationResult(
        completions=[
            Completion([1, 2], [-0.5, -1.0], "length", TopKRows(2, [[(1, -0.5), (3, -2.0)], [(2, -1.0)]]))
        ],
        prompt_logprobs=[None, -0.25],
        prompt_cache_hit_tokens=3,
    )
    ids = array("i", [1, 3, 2, 0]).tobytes()
    floats = array("f", [-0.5, -2.0, -1.0, -99999.0]).tobytes()
    topk = b"\x0a\x10" + ids + b"\x12\x10" + floats + b"\x18\x02\x20\x02"
    sequence = (
        b"\x08\x01"
        + (b"\x12\x08" + array("i", [1, 2]).tobytes())
        + (b"\x1a\x08" + array("f", [-0.5, -1.0]).tobytes())
        + (b"\x22" + bytes([len(topk)]) + topk)
    )
    prompt = array("f", [math.nan, -0.25]).tobytes()
    assert to_protobuf(result, None) == (
        b"\x0a" + bytes([len(sequence)]) + sequence + b"\x12\x08" + prompt + b"\x20\x03"
    )


def test_an_unknown_stop_reason_is_an_error() -> None:
    with pytest.raises(KeyError, match="bored"):
        to_protobuf(GenerationResult([Completion([1], [-1.0], "bored")]), None)


def test_a_completion_without_tokens_has_logprobs_too() -> None:
    """Empty is not absent: a client must be able to tell the two apart."""
    message = SampleResponse.FromString(to_protobuf(GenerationResult([Completion([], [], "stop")]), None))
    assert message.sequences[0].HasField("logprobs")
