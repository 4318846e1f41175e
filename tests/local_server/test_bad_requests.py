"""What is malformed is a 422, what is not allowed a 400 that says what is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.local_server.api import Api, text_prompt

PROMPT = text_prompt(1, 2, 3, 4)


def target(data: list[int], **fields: Any) -> dict[str, Any]:
    return {"target_prompt_logprobs": {"data": data, "dtype": "int64", "shape": [3, 1], **fields}}


NOT_ALLOWED: dict[str, tuple[dict[str, Any], str]] = {
    "no samples": ({"num_samples": 0}, "num_samples is 0; 1 to 1024 are allowed"),
    "too many samples": ({"num_samples": 5000}, "num_samples is 5000; 1 to 1024 are allowed"),
    "no chunks": ({"prompt": {"chunks": []}}, "the prompt is empty; it needs at least one token"),
    "empty prompt": ({"prompt": text_prompt()}, "the prompt is empty; it needs at least one token"),
    "negative token": (
        {"prompt": text_prompt(5, -3)},
        "the prompt has token id -3; tinker-sidecar/sim has ids 0 to 32767",
    ),
    "token beyond the vocabulary": (
        {"prompt": text_prompt(32768, 1)},
        "the prompt has token id 32768; tinker-sidecar/sim has ids 0 to 32767",
    ),
    "long prompt": (
        {"prompt": text_prompt(*[1] * 131_072)},
        (
            "the prompt has 131072 tokens; tinker-sidecar/sim has a context of 131072 tokens"
            " and needs room for at least one more"
        ),
    ),
    "huge image": (
        {"prompt": {"chunks": [{"type": "image", "data": "", "format": "png", "expected_tokens": 10**12}]}},
        "an image's expected_tokens is 1000000000000; the context is 131072 tokens",
    ),
    "no tokens": ({"params": {"max_tokens": 0}}, "max_tokens is 0; at least 1 is allowed"),
    "more tokens than fit": (
        {"params": {"max_tokens": 131_070}},
        (
            "max_tokens is 131070; a prompt of 4 tokens leaves room for 131068"
            " in tinker-sidecar/sim's context of 131072"
        ),
    ),
    "temperature": (
        {"params": {"temperature": -0.1}},
        "temperature is -0.1; 0 or more is allowed",
    ),
    "top_p": ({"params": {"top_p": 0}}, "top_p is 0.0; more than 0 and at most 1 is allowed"),
    "top_p over 1": ({"params": {"top_p": 1.5}}, "top_p is 1.5; more than 0 and at most 1 is allowed"),
    "top_k": ({"params": {"top_k": 0}}, "top_k is 0; -1 (no limit) or at least 1 is allowed"),
    "mixed stops": (
        {"params": {"stop": ["a", 1]}},
        "stop mixes strings and token ids; only one kind is allowed",
    ),
    "empty stop": (
        {"params": {"stop": ""}},
        "stop has an empty string; a stop string needs at least one character",
    ),
    "wide top-k": ({"topk_prompt_logprobs": 129}, "topk_prompt_logprobs is 129; 0 to 128 are allowed"),
    "negative top-k": ({"topk_sample_logprobs": -1}, "topk_sample_logprobs is -1; 0 to 128 are allowed"),
    "alternatives": ({"prompt_alt_tokens_k": -1}, "prompt_alt_tokens_k is -1; 0 to 128 are allowed"),
    "last_n alone": ({"prompt_logprobs_last_n": 1}, "prompt_logprobs_last_n needs prompt_logprobs"),
    "last_n too large": (
        {"prompt_logprobs_last_n": 4, "prompt_logprobs": True},
        "prompt_logprobs_last_n is 4; 1 to 3 are allowed for a prompt of 4 tokens",
    ),
    "float target": (
        target([1, 2, 3], dtype="float32"),
        "target_prompt_logprobs must hold token ids, dtype int64",
    ),
    "fractional target": (
        target([1, 2, 3.5]),  # type: ignore[list-item]
        "target_prompt_logprobs must hold token ids, dtype int64",
    ),
    "target shape": (
        target([1, 2], shape=[2, 1]),
        (
            "target_prompt_logprobs has shape [2, 1];"
            " [3, K] is needed, a row for each prompt token after the first"
        ),
    ),
    "no target shape": (
        target([1, 2], shape=None),
        (
            "target_prompt_logprobs has shape None;"
            " [3, K] is needed, a row for each prompt token after the first"
        ),
    ),
    "target values": (
        target([1, 2]),
        "target_prompt_logprobs has 2 values; its shape [3, 1] holds 3",
    ),
    "no target": (target([-1, -1, -1]), "target_prompt_logprobs names no token id"),
    "target beyond the vocabulary": (
        target([1, 2, 99999]),
        "target_prompt_logprobs has token id 99999; tinker-sidecar/sim has ids 0 to 32767",
    ),
    "negative target": (
        target([1, -2, 3]),
        "target_prompt_logprobs has token id -2; a token id or -1 (nothing) is allowed",
    ),
    "half sparse": (
        target([1], sparse_crow_indices=[0, 1, 1, 1]),
        "target_prompt_logprobs is sparse: sparse_crow_indices and sparse_col_indices come together",
    ),
    "crow": (
        target([1], sparse_crow_indices=[0, 1, 0, 1], sparse_col_indices=[0]),
        "target_prompt_logprobs: sparse_crow_indices must rise from 0 to the number of values in 4 steps",
    ),
    "empty crow": (
        target([1], sparse_crow_indices=[], sparse_col_indices=[0]),
        "target_prompt_logprobs: sparse_crow_indices must rise from 0 to the number of values in 4 steps",
    ),
    "col": (
        target([1], sparse_crow_indices=[0, 1, 1, 1], sparse_col_indices=[1]),
        "target_prompt_logprobs: sparse_col_indices must name a column from 0 to 0 for each value",
    ),
}


@pytest.fixture
def sampler(api: Api) -> str:
    return api.create_sampler()


@pytest.mark.parametrize(("fields", "detail"), NOT_ALLOWED.values(), ids=NOT_ALLOWED)
def test_not_allowed(api: Api, sampler: str, fields: dict[str, Any], detail: str) -> None:
    answer = api.asample(sampler, **{"prompt": PROMPT, **fields})
    assert (answer.status, answer.detail) == (400, detail)


def test_a_refused_request_leaves_its_number_free(api: Api, sampler: str) -> None:
    assert api.asample(sampler, 4, num_samples=0).status == 400
    assert api.retrieve(f"{sampler}:4").status == 404
    assert api.retrieve(api.submit(sampler, 4)).status == 200


MALFORMED: dict[str, tuple[dict[str, Any], str]] = {
    "a string for a number": ({"num_samples": "2"}, "Expected `int`, got `str` - at `$.num_samples`"),
    "a token that is no number": (
        {"prompt": {"chunks": [{"type": "encoded_text", "tokens": ["a"]}]}},
        "Expected `int`, got `str` - at `$.prompt.chunks[0].tokens[0]`",
    ),
    "an unknown chunk": (
        {"prompt": {"chunks": [{"type": "video"}]}},
        "Invalid value 'video' - at `$.prompt.chunks[0].type`",
    ),
    "an unknown field": ({"max_tokens": 5}, "Object contains unknown field `max_tokens`"),
    "an unknown parameter": (
        {"params": {"min_p": 0.1}},
        "Object contains unknown field `min_p` - at `$.sampling_params`",
    ),
    "an image that is not base64": (
        {"prompt": {"chunks": [{"type": "image", "format": "png", "data": "%"}]}},
        "Invalid base64 encoded string - at `$.prompt.chunks[0].data`",
    ),
    "an unknown type": ({"type": "forward"}, "Invalid enum value 'forward' - at `$.type`"),
    "a negative number": ({"seq_id": -1}, "Expected `int` >= 0 - at `$.seq_id`"),
}


@pytest.mark.parametrize(("fields", "detail"), MALFORMED.values(), ids=MALFORMED)
def test_malformed(api: Api, sampler: str, fields: dict[str, Any], detail: str) -> None:
    answer = api.asample(sampler, **fields)
    assert (answer.status, answer.detail) == (422, detail)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"null"])
def test_no_json_object(api: Api, body: bytes) -> None:
    for path in ("asample", "retrieve_future", "create_session", "client/config"):
        answer = api.post(path, body)
        assert answer.status == 422
        assert answer.detail


def test_a_missing_field_is_named(api: Api) -> None:
    answer = api.post("retrieve_future", {})
    assert (answer.status, answer.detail) == (422, "Object missing required field `request_id`")


def test_a_body_of_many_megabytes(api: Api) -> None:
    answer = api.post("asample", b" " * (65 << 20))
    assert (answer.status, answer.detail) == (413, "the body is larger than 64 MiB")
