"""What servers say of their models."""

from __future__ import annotations

from typing import Any

import pytest

from tinker_client.errors import APIResponseValidationError
from tinker_client.types import GetServerCapabilitiesResponse, SupportedModel


def test_known_fields_are_read_and_others_ignored() -> None:
    answer = {"supported_models": [{"model_name": "a", "max_context_length": 9, "colour": "red"}, {}], "x": 1}
    capabilities = GetServerCapabilitiesResponse.from_wire(answer)
    assert capabilities.supported_models == [
        SupportedModel(model_name="a", max_context_length=9),
        SupportedModel(),
    ]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({}, "missing required field `supported_models`"),
        ([], "Expected `object`"),
        (None, "Expected `object`"),
        ({"supported_models": [{"max_context_length": "9"}]}, r"supported_models\[0\].max_context_length"),
    ],
)
def test_malformed_answers_name_the_field(answer: Any, message: str) -> None:
    with pytest.raises(APIResponseValidationError, match=message) as caught:
        GetServerCapabilitiesResponse.from_wire(answer)
    assert caught.value.body == answer


def test_a_dump_comes_back() -> None:
    capabilities = GetServerCapabilitiesResponse(supported_models=[SupportedModel(model_name="a")])
    assert GetServerCapabilitiesResponse(**capabilities.model_dump()) == capabilities


def test_what_is_not_a_model_is_refused() -> None:
    with pytest.raises(TypeError, match=r"supported_models\[0\] must be a SupportedModel, got str: 'a'"):
        GetServerCapabilitiesResponse(supported_models=["a"])  # type: ignore[list-item]
