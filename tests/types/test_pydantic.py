"""What code for the official SDK's pydantic models does with these types."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pydantic
import pytest

from tests.types.test_values import MAKERS
from tinker_client import types
from tinker_client.types import (
    DmelChunk,
    EncodedTextChunk,
    ImageAssetPointerChunk,
    ImageChunk,
    ModelInput,
    ModelInputChunk,
    SampledSequence,
    SampleResponse,
    SamplingParams,
    SupportedModel,
    TensorData,
)

MODELS = (
    "DmelChunk",
    "EncodedTextChunk",
    "GetServerCapabilitiesResponse",
    "ImageAssetPointerChunk",
    "ImageChunk",
    "ModelInput",
    "SamplingParams",
    "SupportedModel",
)
EVERY_MODEL = pytest.mark.parametrize("name", MODELS)


class Rollout(pydantic.BaseModel):
    prompt: ModelInput
    params: SamplingParams = SamplingParams(max_tokens=5)
    chunks: list[ModelInputChunk] = []
    response: SampleResponse | None = None
    best: SampledSequence | None = None
    target: TensorData | None = None


@EVERY_MODEL
def test_what_is_dumped_is_made_again(name: str) -> None:
    value, cls = MAKERS[name](1), getattr(types, name)
    assert cls.model_validate(value) is value
    # A tuple of stop strings comes back as a list.
    assert cls.model_validate(value.model_dump()).model_dump() == value.model_dump()
    assert (
        cls.model_validate_json(value.model_dump_json(exclude_none=True)).model_dump() == value.model_dump()
    )
    assert json.loads(value.model_dump_json(indent=2)) == value.model_dump(mode="json")
    assert value.model_copy() == value.model_copy(deep=True) == value


def test_fields_are_left_out_of_what_is_dumped() -> None:
    params = SamplingParams(max_tokens=3, stop=["a"])
    assert params.model_dump(exclude_none=True).keys() == {
        "max_tokens",
        "stop",
        "temperature",
        "top_k",
        "top_p",
    }
    assert params.model_dump(exclude_defaults=True) == {"max_tokens": 3, "stop": ["a"]}
    assert params.model_dump(include={"seed"}) == {"seed": None}
    assert "seed" not in params.model_dump(exclude={"seed"})
    prompt = ModelInput(chunks=[ImageChunk(data=b"\xff", format="png")])
    assert prompt.model_dump(exclude_none=True) == {
        "chunks": [{"data": "/w==", "format": "png", "type": "image"}]
    }


def test_copies_are_changed_and_checked() -> None:
    assert EncodedTextChunk(tokens=[1]).model_copy(update={"tokens": [2]}).tokens == [2]
    with pytest.raises(ValueError, match="top_p must be a number in"):
        SamplingParams().model_copy(update={"top_p": 0})


@pytest.mark.parametrize(
    ("cls", "given", "complaint"),
    [
        (SamplingParams, {"max_tokens": "many"}, "max_tokens must be a positive int or None, got str"),
        (SamplingParams, 5, "must be made of a dict of its fields, got int"),
        (ModelInput, {}, "Missing required argument 'chunks'"),
        (ModelInput, {"chunks": [{"type": "encoded_text"}]}, "tokens"),
        (ImageChunk, {"data": b"x", "format": "png", "fromat": "png"}, "fromat"),
        (EncodedTextChunk, {"tokens": [1], "types": "encoded_text"}, "types"),
        (EncodedTextChunk, [1, 2], "must be made of a dict of its fields, got list"),
    ],
)
def test_what_it_cannot_be_made_of_is_a_value_error(cls: Any, given: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        cls.model_validate(given)


def test_what_is_no_json_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="JSON"):
        SamplingParams.model_validate_json("{")


def test_fields_of_newer_servers_are_ignored_where_the_official_sdk_ignores_them() -> None:
    assert SamplingParams.model_validate({"seed": 1, "min_p": 0.1}) == SamplingParams(seed=1)
    assert SupportedModel.model_validate({"model_name": "m", "price": 1}).model_name == "m"


def test_a_pydantic_model_has_them_as_fields() -> None:
    prompt = ModelInput.from_ints([1, 2])
    sequence = SampledSequence("stop", tokens=[3])
    rollout = Rollout(
        prompt=prompt,
        chunks=[{"type": "dmel", "dmel": b"\x00\x01\x02"}, EncodedTextChunk(tokens=[4])],  # type: ignore[list-item]
        response=SampleResponse([sequence]),
        best=sequence,
        target=TensorData([1], "int64"),
    )
    assert rollout.prompt is prompt
    assert rollout.chunks == [DmelChunk(dmel=b"\x00\x01\x02"), EncodedTextChunk(tokens=[4])]
    assert rollout.best is sequence
    assert rollout.model_dump()["prompt"] == {"chunks": [{"tokens": [1, 2], "type": "encoded_text"}]}


def test_such_a_model_is_read_from_json() -> None:
    pointer = ImageAssetPointerChunk(location="s3://a", format="jpeg")
    rollout = Rollout(prompt=ModelInput(chunks=[pointer]), params=SamplingParams(stop=[1]))
    text = rollout.model_dump_json(exclude_none=True)
    assert "expected_tokens" not in text
    assert Rollout.model_validate_json(text) == rollout
    assert Rollout.model_json_schema()["properties"]["prompt"] == {"title": "ModelInput", "type": "object"}


@pytest.mark.parametrize(
    "wrong",
    [{"prompt": [1, 2]}, {"prompt": {"chunks": [3]}}, {"params": {"top_p": 2}}, {"best": {"tokens": [1]}}],
)
def test_what_does_not_fit_is_pydantics_own_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        Rollout.model_validate({"prompt": {"chunks": []}} | wrong)
    [error] = caught.value.errors()
    assert error["loc"] == tuple(wrong)


def test_pydantic_is_never_imported() -> None:
    script = (
        "import sys; from tinker_client import types\n"
        "print(types.ModelInput.from_ints([1]).model_dump_json(), 'pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == '{"chunks":[{"tokens":[1],"type":"encoded_text"}]} False\n'
