"""The decoders of results: what is valid comes through unchanged, anything else is one clear error."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.damage import damaged
from tests.engine.answers import JSON, PROTOBUF, Answer, answers, ask, float32
from tinker_client import APIResponseValidationError
from tinker_client.types import SampleResponse
from tinker_sidecar.engine.failures import EngineError
from tinker_sidecar.engine.results import Decoded, PayloadSize, Pending, Promise, decode_answer
from tinker_sidecar.ipc.protocol import SampleResult

SEQUENCE_IDS = ["seq-a", "seq-b", "seq-c"]
PROMISE = Promise("sampler:7", SEQUENCE_IDS)
KINDS = {"APIResponseValidationError", "RequestFailedError"}


def decode(content_type: str, content: bytes, num_samples: int = 1) -> bytes | Pending | PayloadSize:
    answer = decode_answer(content_type, content, PROMISE, ask(num_samples=num_samples))
    return answer.payload if isinstance(answer, Decoded) else answer


def decoded(content_type: str, content: bytes, num_samples: int = 1) -> SampleResult:
    payload = decode(content_type, content, num_samples)
    assert isinstance(payload, bytes)
    return msgspec.msgpack.decode(payload, type=SampleResult)


def body(**fields: Any) -> bytes:
    return json.dumps({"sequences": [{"tokens": [1], "stop_reason": "stop"}], **fields}).encode()


def assert_understood_or_refused(content_type: str, content: bytes) -> None:
    """No other error than the two, and nothing that a caller's process then chokes on."""
    try:
        answer = decode(content_type, content)
    except EngineError as error:
        failure = error.failure
    else:
        if isinstance(answer, bytes):
            look_at_everything(SampleResponse.from_wire(answer))
        return
    assert failure.kind in KINDS
    assert PROMISE.request_id in (failure.request_id or failure.message)
    assert msgspec.msgpack.encode(failure)


def look_at_everything(response: SampleResponse) -> None:
    try:
        repr(response)
        for name in (
            "prompt_logprobs",
            "prompt_logprobs_np",
            "topk_prompt_logprobs",
            "topk_prompt_logprobs_np",
            "target_prompt_logprobs",
            "prompt_alt_tokens",
            "prompt_cache_hit_tokens",
        ):
            getattr(response, name)
        for sequence in response.sequences:
            repr(sequence)
            for name in (
                "tokens",
                "tokens_np",
                "logprobs",
                "logprobs_np",
                "topk_logprobs",
                "topk_logprobs_np",
            ):
                getattr(sequence, name)
    except APIResponseValidationError:
        pass


# What is valid


@given(answers())
def test_json_comes_through(answer: Answer) -> None:
    assert decoded(JSON, answer.json(), len(answer.sequences)) == answer.expected(
        SEQUENCE_IDS[: len(answer.sequences)]
    )


@given(answers())
def test_protobuf_comes_through(answer: Answer) -> None:
    assert decoded(PROTOBUF, answer.protobuf(), len(answer.sequences)) == answer.expected(
        SEQUENCE_IDS[: len(answer.sequences)]
    )


@given(answers())
def test_both_encodings_say_the_same(answer: Answer) -> None:
    num_samples = len(answer.sequences)
    from_json = decode(JSON, answer.json(), num_samples)
    assert from_json == decode(PROTOBUF + "; charset=binary", answer.protobuf(), num_samples)


@given(answers())
def test_every_valid_result_can_be_looked_at(answer: Answer) -> None:
    payload = decode(PROTOBUF, answer.protobuf(), len(answer.sequences))
    assert isinstance(payload, bytes)
    response = SampleResponse.from_wire(payload)
    assert [sequence.tokens for sequence in response.sequences] == [
        tokens for _, tokens, _, _ in answer.sequences
    ]
    assert response.prompt_logprobs == answer.prompt_logprobs
    look_at_everything(response)


def test_a_missing_first_entry_is_filled_in() -> None:
    """Some servers score from the second token on."""
    content = body(prompt_logprobs=[-1.0, -2.0, -3.0], topk_prompt_logprobs=[[[5, -1.0]]] * 3)
    result = decoded(JSON, content)
    assert result.prompt_logprobs == float32([None, -1.0, -2.0, -3.0])
    assert (
        SampleResponse.from_wire(msgspec.msgpack.encode(result)).topk_prompt_logprobs
        == [None] + [[(5, -1.0)]] * 3
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"type": "try_again", "queue_state": "active"}, Pending("active", None)),
        (
            {"type": "try_again", "queue_state": "paused_capacity", "queue_state_reason": "full", "x": 1},
            Pending("paused_capacity", "full"),
        ),
        ({"status": "complete_metadata", "response_payload_size": 77}, PayloadSize(77)),
    ],
)
def test_answers_that_are_no_result(content: dict[str, Any], expected: object) -> None:
    assert decode(JSON, json.dumps(content).encode()) == expected


@pytest.mark.parametrize("category", ["unknown", "server", "user", "of the future"])
def test_a_failed_request(category: str) -> None:
    with pytest.raises(EngineError) as caught:
        decode(JSON, json.dumps({"error": "no luck", "category": category}).encode())
    failure = caught.value.failure
    assert (failure.kind, failure.message, failure.category) == ("RequestFailedError", "no luck", category)
    assert failure.request_id == PROMISE.request_id


# What is not


@given(st.sampled_from([JSON, PROTOBUF, "", "text/html"]), st.binary(max_size=200))
@example(JSON, b"\xff")
@example(JSON, b'{"error": "\xff"}')
@example(JSON, b'{"x": ' + b"[" * 100_000)
@example(JSON, b"[" * 100_000)
def test_any_bytes(content_type: str, content: bytes) -> None:
    assert_understood_or_refused(content_type, content)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(max_size=8), values, max_size=4),
    max_leaves=8,
)
_numbers = st.lists(st.none() | st.integers() | st.floats(), max_size=4)
_rows = st.lists(st.none() | st.lists(st.tuples(st.integers(), st.floats()), max_size=3), max_size=3)
_tensor = st.fixed_dictionaries(
    {"data": _numbers, "dtype": st.sampled_from(["int64", "float32", "int32", ""])},
    optional={"shape": _numbers, "sparse_crow_indices": _numbers, "sparse_col_indices": _numbers},
)
_sequence = st.fixed_dictionaries(
    {"tokens": _numbers | _json, "stop_reason": st.sampled_from(["stop", "length", "eos", ""]) | _json},
    optional={"logprobs": _numbers, "topk_logprobs": _rows},
)
_nearly_valid = st.fixed_dictionaries(
    {"sequences": st.lists(_sequence, max_size=2) | _json},
    optional={
        "prompt_logprobs": _numbers | _json,
        "topk_prompt_logprobs": _rows | _json,
        "prompt_cache_hit_tokens": st.integers() | _json,
        "target_prompt_logprobs": _tensor | _json,
        "prompt_alt_tokens": st.fixed_dictionaries({"tokens": _tensor, "logprobs": _tensor}) | _json,
        "error": _json,
        "type": st.just("try_again") | _json,
        "status": st.just("complete_metadata") | _json,
        "response_payload_size": st.integers() | _json,
    },
)


@given(_nearly_valid)
@example({"sequences": [], "prompt_cache_hit_tokens": 2**70})
@example({"sequences": [], "target_prompt_logprobs": {"data": [], "dtype": "int64", "shape": [2**70]}})
@example({"sequences": [], "target_prompt_logprobs": {"data": [1e300], "dtype": "int64"}})
@example({"sequences": [{"tokens": [2**31], "stop_reason": "stop"}]})
@example({"status": "complete_metadata", "response_payload_size": -1})
def test_json_with_the_right_names_and_the_wrong_values(answer: dict[str, Any]) -> None:
    assert_understood_or_refused(JSON, json.dumps(answer).encode())


@given(answers(), st.sampled_from([JSON, PROTOBUF]), st.data())
def test_damaged_results(answer: Answer, content_type: str, data: st.DataObject) -> None:
    content = answer.json() if content_type == JSON else answer.protobuf()
    assert_understood_or_refused(content_type, data.draw(damaged(content)))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (body(sequences=[{"tokens": [1], "stop_reason": "eos"}]), "stop_reason 'eos'"),
        (body(sequences=[{"tokens": [1.5], "stop_reason": "stop"}]), r"\$\.sequences\[0\]\.tokens\[0\]"),
        (body(sequences=[{"stop_reason": "stop"}]), "tokens"),
        (body(prompt_logprobs=["x"]), r"\$\.prompt_logprobs\[0\]"),
        (body(target_prompt_logprobs={"data": [1], "dtype": "int8"}), "dtype 'int8'"),
        (b'{"answer": 42}', "sequences"),
        (b"<html>", "malformed"),
        (b"", "malformed"),
    ],
)
def test_the_error_says_what_is_wrong(content: bytes, named: str) -> None:
    with pytest.raises(EngineError, match=named) as caught:
        decode(JSON, content)
    assert caught.value.failure.kind == "APIResponseValidationError"


def test_a_fraction_is_no_token() -> None:
    """It must not be rounded to one in silence."""
    with pytest.raises(EngineError):
        decode(JSON, body(target_prompt_logprobs={"data": [1.5], "dtype": "int64", "shape": [1]}))
