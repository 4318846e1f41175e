"""One logprob a token: a result that has more or fewer is no result, in whichever encoding it comes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.engine.answers import JSON, PROTOBUF, Answer, Row, ask
from tinker_sidecar.engine.failures import EngineError
from tinker_sidecar.engine.results import Decoded, Promise, decode_answer
from tinker_sidecar.ipc.protocol import RequestSpec

ENCODINGS = {"json": JSON, "protobuf": PROTOBUF}
PROMPT = 4
ROW: Row = [(5, -1.0), (6, -2.0)]


def answer(content_type: str, **fields: Any) -> bytes:
    values: dict[str, Any] = {
        "tokens": [1, 2, 3],
        "logprobs": None,
        "topk": None,
        "prompt_logprobs": None,
        "topk_prompt_logprobs": None,
        **fields,
    }
    made = Answer(
        [("stop", values["tokens"], values["logprobs"], values["topk"])],
        values["prompt_logprobs"],
        values["topk_prompt_logprobs"],
        0,
        None,
        None,
    )
    return made.json() if content_type == JSON else made.protobuf()


def everything_asked() -> RequestSpec:
    return msgspec.structs.replace(ask(PROMPT), prompt_logprobs=True, topk_prompt_logprobs=2)


@pytest.mark.parametrize("content_type", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"logprobs": [-1.0, -2.0]}, "2 logprobs for 3 tokens"),
        ({"logprobs": [-1.0] * 4}, "4 logprobs for 3 tokens"),
        ({"logprobs": []}, "0 logprobs for 3 tokens"),
        ({"tokens": [], "logprobs": [-1.0]}, "1 logprobs for 0 tokens"),
        ({"topk": [ROW] * 2}, "2 rows of topk_logprobs for 3 tokens"),
        ({"prompt_logprobs": [-1.0] * 2}, "2 prompt_logprobs for 4 tokens"),
        ({"prompt_logprobs": [None] + [-1.0] * 4}, "5 prompt_logprobs for 4 tokens"),
        ({"topk_prompt_logprobs": [ROW] * 5}, "5 rows of topk_prompt_logprobs for 4 tokens"),
    ],
)
def test_another_length_is_malformed(content_type: str, fields: dict[str, Any], named: str) -> None:
    with pytest.raises(EngineError, match=named) as caught:
        decode_answer(content_type, answer(content_type, **fields), Promise("r"), everything_asked())
    assert caught.value.failure.kind == "APIResponseValidationError"


@pytest.mark.parametrize("content_type", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize(
    "fields",
    [
        {"logprobs": [-1.0] * 3, "topk": [ROW] * 3},
        {"tokens": [], "logprobs": []},
        {"prompt_logprobs": [None] + [-1.0] * 3, "topk_prompt_logprobs": [None] + [ROW] * 3},
        {"prompt_logprobs": [-1.0] * 3, "topk_prompt_logprobs": [ROW] * 3},  # From the second token on.
    ],
)
def test_what_the_protocol_allows(content_type: str, fields: dict[str, Any]) -> None:
    content = answer(content_type, **fields)
    assert isinstance(decode_answer(content_type, content, Promise("r"), everything_asked()), Decoded)


@pytest.mark.parametrize("content_type", ENCODINGS.values(), ids=ENCODINGS)
def test_what_was_not_asked_for_may_be_empty(content_type: str) -> None:
    content = answer(content_type, prompt_logprobs=[])
    assert isinstance(decode_answer(content_type, content, Promise("r"), ask(PROMPT)), Decoded)
