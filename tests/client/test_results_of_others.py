"""A result that cannot be the request's own, as where two requests have one number, is not passed on."""

from __future__ import annotations

import json

import pytest

from tests.connection import PARAMS, RETRY, Connect, flag, option, prompt
from tinker_client import APIResponseValidationError, types


def answering(*lengths: int) -> list[str]:
    sequences = [
        {"tokens": [1] * length, "logprobs": [0.0] * length, "stop_reason": "length"} for length in lengths
    ]
    body = json.dumps({"sequences": sequences})
    return [*option("fault", f"retrieve_future:200,body={body}"), *flag("sample_use_retrieve_futures", False)]


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ((8, 9), "9 tokens, where max_tokens is 8"),
        ((8,), "1 sequences instead of 2"),
        ((8, 8, 8), "3 sequences"),
    ],
)
def test_more_than_was_asked_for(connect: Connect, lengths: tuple[int, ...], message: str) -> None:
    client = connect(*answering(*lengths), retry_config=RETRY).sampling_client()
    with pytest.raises(APIResponseValidationError, match=f"malformed result .*{message}"):
        client.sample(prompt(1), 2, PARAMS).result(30)


def test_less_may_be(connect: Connect) -> None:
    """A stop, or a server that allows fewer."""
    client = connect(*answering(0, 7)).sampling_client()
    sequences = client.sample(prompt(1), 2, PARAMS).result(30).sequences
    assert [len(sequence.tokens) for sequence in sequences] == [0, 7]


def test_without_max_tokens_any_length_may_be(connect: Connect) -> None:
    client = connect(*answering(100)).sampling_client()
    [sequence] = client.sample(prompt(1), 1, types.SamplingParams()).result(30).sequences
    assert len(sequence.tokens) == 100
