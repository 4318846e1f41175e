"""Which arguments of an official `sample` are understood: those of ours, by place and by name, no others."""

from __future__ import annotations

from typing import Any

import pytest

from tinker_client.official.requests import PARAMETERS, sample_request
from tinker_client.sampling_request import SamplingRequest


def test_by_place_and_by_name() -> None:
    values = dict(zip(PARAMETERS, range(len(PARAMETERS)), strict=True))
    expected = SamplingRequest(**values)
    assert sample_request(**values) == expected
    assert sample_request(*values.values()) == expected
    assert sample_request(0, 1, **dict(list(values.items())[2:])) == expected


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((1, 2, 3), {"newer": 4}),
        ((1, 2, 3), {"record_stability_info": True}),
        (tuple(range(len(PARAMETERS) + 1)), {}),
        ((1, 2, 3), {"prompt": 1}),
        ((1, 2), {}),
    ],
    ids=["a newer one", "a client's own affair", "one more", "one twice", "too few"],
)
def test_others_are_for_the_official_method(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        sample_request(*args, **kwargs)
