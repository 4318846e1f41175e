"""A sample over HTTP: submitted, waited for, fetched in either encoding, cancelled."""

from __future__ import annotations

import base64
import math
from array import array
from collections.abc import Callable
from typing import Any

import pytest

from tests.local_server.api import Api, text_prompt
from tinker_sidecar.local_server.engines.sim import expected_logprobs, expected_tokens
from tinker_sidecar.proto.sample_response_pb2 import (
    FLOAT32,
    INT64,
    LENGTH,
    SampleResponse,
    Tensor,
    TopkLogprobs,
)

Serve = Callable[..., Api]

PROTOBUF = "application/x-protobuf"
PROMPT = [5, 6, 7, 8]


def ints(data: bytes) -> list[int]:
    return array("i", data).tolist()


def floats(data: bytes) -> list[float]:
    return array("f", data).tolist()


@pytest.fixture
def sampler(api: Api) -> str:
    return api.create_sampler()


def test_a_sample_is_what_the_simulation_must_say(api: Api, sampler: str) -> None:
    answer = api.asample(sampler, 0, text_prompt(*PROMPT), {"max_tokens": 20, "seed": 3}, num_samples=2)
    assert answer.json == {
        "request_id": f"{sampler}:0",
        "sample_sequence_ids": [f"{sampler}:0:0", f"{sampler}:0:1"],
    }
    result = api.retrieve(answer.json["request_id"])
    assert result.headers["content-type"] == "application/json"
    tokens = [expected_tokens(PROMPT, 3, index, 20) for index in range(2)]
    assert tokens[0] != tokens[1]
    assert result.json == {
        "type": "sample",
        "sequences": [
            {"stop_reason": "length", "tokens": sample, "logprobs": expected_logprobs(sample)}
            for sample in tokens
        ],
        "prompt_cache_hit_tokens": 0,
    }


def test_protobuf_for_those_who_accept_it(api: Api, sampler: str) -> None:
    request_id = api.submit(sampler, prompt=text_prompt(*PROMPT), prompt_logprobs=True)
    result = api.retrieve(request_id, accept=PROTOBUF)
    assert result.headers["content-type"] == PROTOBUF
    message = SampleResponse.FromString(result.content)
    [sequence] = message.sequences
    tokens = expected_tokens(PROMPT, None, 0, 8)
    assert sequence.stop_reason == LENGTH
    assert ints(sequence.tokens) == tokens
    assert floats(sequence.logprobs) == expected_logprobs(tokens)
    not_computed, *logprobs = floats(message.prompt_logprobs)
    assert math.isnan(not_computed)
    assert logprobs == expected_logprobs(PROMPT[1:])


@pytest.mark.parametrize(("encoding", "accept"), [("json", PROTOBUF), ("protobuf", "application/json")])
def test_an_encoding_can_be_forced(serve: Serve, encoding: str, accept: str) -> None:
    api = serve("--result-encoding", encoding)
    result = api.retrieve(api.submit(api.create_sampler()), accept=accept)
    assert result.headers["content-type"].endswith(encoding)


EVERYTHING = {
    "prompt": text_prompt(*PROMPT),
    "num_samples": 2,
    "params": {"max_tokens": 3, "seed": -1, "temperature": 0.5, "top_k": 5, "top_p": 0.9},
    "prompt_logprobs": True,
    "prompt_logprobs_last_n": 2,
    "topk_prompt_logprobs": 3,
    "topk_sample_logprobs": 2,
    "target_prompt_logprobs": {"data": [9, -1, 11, 12, 13, -1], "dtype": "int64", "shape": [3, 2]},
    "prompt_alt_tokens_k": 4,
}


def test_everything_one_can_ask_for_says_the_same_in_both_encodings(api: Api, sampler: str) -> None:
    request_id = api.submit(sampler, **EVERYTHING)
    result = api.retrieve(request_id).json
    message = SampleResponse.FromString(api.retrieve(request_id, accept=PROTOBUF).content)

    assert result["prompt_logprobs"] == [None, None, *expected_logprobs(PROMPT[2:])]
    assert floats(message.prompt_logprobs)[2:] == expected_logprobs(PROMPT[2:])
    assert [row and len(row) for row in result["topk_prompt_logprobs"]] == [None, None, 3, 3]
    assert topk_rows(message.topk_prompt_logprobs) == result["topk_prompt_logprobs"]
    for sequence, decoded in zip(result["sequences"], message.sequences, strict=True):
        assert ints(decoded.tokens) == sequence["tokens"]
        assert [len(row) for row in sequence["topk_logprobs"]] == [2, 2, 2]
        assert topk_rows(decoded.topk_sampled_logprobs) == sequence["topk_logprobs"]
    target = [logprob if token >= 0 else 0.0 for token, logprob in zip(*targets(), strict=True)]
    assert result["target_prompt_logprobs"] == {"data": target, "dtype": "float32", "shape": [3, 2]}
    assert tensor(message.target_prompt_logprobs) == result["target_prompt_logprobs"]
    alternatives = result["prompt_alt_tokens"]
    assert alternatives["tokens"]["shape"] == [3, 4]
    assert alternatives["logprobs"]["data"] == expected_logprobs(alternatives["tokens"]["data"])
    assert tensor(message.prompt_alt_tokens.tokens) == alternatives["tokens"]
    assert tensor(message.prompt_alt_tokens.logprobs) == alternatives["logprobs"]


def targets() -> tuple[list[int], list[float]]:
    tokens: list[int] = EVERYTHING["target_prompt_logprobs"]["data"]  # type: ignore[index, assignment]
    return tokens, expected_logprobs(max(token, 0) for token in tokens)


def topk_rows(topk: TopkLogprobs) -> list[list[list[float]] | None]:
    cells = [list(cell) for cell in zip(ints(topk.token_ids), floats(topk.logprobs), strict=True)]
    rows = [cells[start : start + topk.k] for start in range(0, len(cells), topk.k)]
    return [None if row[0] == [0, -99999.0] else row for row in rows]


def tensor(message: Tensor) -> dict[str, Any]:
    code, name = {INT64: ("q", "int64"), FLOAT32: ("f", "float32")}[message.dtype]
    return {"data": array(code, message.dense).tolist(), "dtype": name, "shape": list(message.shape)}


def test_a_sparse_target_has_a_sparse_answer(api: Api, sampler: str) -> None:
    target = {
        "data": [9, 11],
        "dtype": "int64",
        "shape": [3, 100],
        "sparse_crow_indices": [0, 1, 1, 2],
        "sparse_col_indices": [42, 7],
    }
    request_id = api.submit(sampler, prompt=text_prompt(*PROMPT), target_prompt_logprobs=target)
    answer = target | {"data": expected_logprobs([9, 11]), "dtype": "float32"}
    assert api.retrieve(request_id).json["target_prompt_logprobs"] == answer
    decoded = SampleResponse.FromString(
        api.retrieve(request_id, accept=PROTOBUF).content
    ).target_prompt_logprobs
    assert floats(decoded.sparse_csr.values) == answer["data"]
    assert array("q", decoded.sparse_csr.crow_indices).tolist() == [0, 1, 1, 2]
    assert array("q", decoded.sparse_csr.col_indices).tolist() == [42, 7]


def test_chunks_that_are_no_text_count_as_placeholder_tokens(api: Api, sampler: str) -> None:
    data = base64.b64encode(b"not looked at").decode()
    chunks = [
        {"type": "encoded_text", "tokens": [5]},
        {"type": "image", "data": data, "format": "png", "expected_tokens": 3},
        {"type": "image_asset_pointer", "location": "s3://there", "format": "jpeg"},
        {"type": "dmel", "dmel": data},
        {"type": "encoded_text", "tokens": [6]},
    ]
    result = api.retrieve(api.submit(sampler, prompt={"chunks": chunks}, prompt_logprobs=True)).json
    prompt = [5, 0, 0, 0, 0, 0, 6]
    assert result["sequences"][0]["tokens"] == expected_tokens(prompt, None, 0, 8)
    assert len(result["prompt_logprobs"]) == len(prompt)


def test_a_stop_token_ends_a_sample(api: Api, sampler: str) -> None:
    tokens = expected_tokens(PROMPT, None, 0, 20)
    fields: dict[str, Any] = {"prompt": text_prompt(*PROMPT)}
    request_id = api.submit(sampler, params={"max_tokens": 20, "stop": [tokens[9], tokens[4]]}, **fields)
    [sequence] = api.retrieve(request_id).json["sequences"]
    assert (sequence["stop_reason"], sequence["tokens"]) == ("stop", tokens[:5])
    assert sequence["logprobs"] == expected_logprobs(tokens[:5])


def test_a_repeated_seq_id_is_the_same_request(api: Api) -> None:
    session = api.create_session()
    sampler = api.create_sampler(session)
    first = api.submit(sampler, 7, prompt=text_prompt(1))
    assert api.submit(sampler, 7, prompt=text_prompt(2)) == first
    result = api.retrieve(first)
    assert api.submit(sampler, 7, prompt=text_prompt(3)) == first
    assert api.retrieve(first).content == result.content
    assert result.json["sequences"][0]["tokens"] == expected_tokens([1], None, 0, 8)
    assert len(api.get("/local/journal").json["sessions"][session]["submitted"]) == 1


def test_a_pending_request_is_a_408_that_says_so(serve: Serve) -> None:
    api = serve("--latency", "600", "--long-poll", "0.05")
    request_id = api.submit(api.create_sampler())
    answer = api.retrieve(request_id)
    assert answer.status == 408
    assert answer.json == {"type": "try_again", "request_id": request_id, "queue_state": "active"}


def test_a_poll_ends_as_soon_as_the_result_is_there(serve: Serve) -> None:
    api = serve("--latency", "0.3", "--long-poll", "600")
    assert api.retrieve(api.submit(api.create_sampler())).status == 200


def test_a_large_result_is_announced_first(serve: Serve) -> None:
    api = serve("--inline-result-bytes", "1000")
    sampler = api.create_sampler()
    large = api.submit(sampler, 0, params={"max_tokens": 500})
    announced = api.retrieve(large, allow_metadata_only=True).json
    payload = api.retrieve(large, allow_metadata_only=False, accept=PROTOBUF).content
    assert announced == {"status": "complete_metadata", "response_payload_size": len(payload)}
    small = api.submit(sampler, 1)
    assert "sequences" in api.retrieve(small, allow_metadata_only=True).json


def test_a_cancelled_request_has_failed(serve: Serve) -> None:
    api = serve("--latency", "600")
    session = api.create_session()
    request_id = api.submit(api.create_sampler(session))
    assert api.post("cancel_future", {"request_id": request_id}).json == {}
    assert api.retrieve(request_id).json == {"error": "the request was cancelled", "category": "user"}
    log = api.get("/local/journal").json["sessions"][session]
    assert (len(log["submitted"]), log["completed"]) == (1, [])


def test_cancelling_what_is_done_changes_nothing(api: Api, sampler: str) -> None:
    request_id = api.submit(sampler)
    result = api.retrieve(request_id)
    assert api.post("cancel_future", {"request_id": request_id}).status == 200
    assert api.retrieve(request_id).content == result.content


@pytest.mark.parametrize("suffix", [":99", ":x", "", ":", ":٣", ":-1", ":" + "9" * 30])
def test_requests_that_never_were(api: Api, sampler: str, suffix: str) -> None:
    api.submit(sampler, 5)
    for path in ("retrieve_future", "cancel_future"):
        answer = api.post(path, {"request_id": sampler + suffix})
        assert answer.status == 404
        assert "unknown" in answer.detail
