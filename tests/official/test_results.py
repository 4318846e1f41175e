"""Official results made of ours, for stand-ins for the classes of several versions of the SDK."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tinker_client.errors import APIResponseValidationError
from tinker_client.official.results import MisfitError, response_builder
from tinker_client.types import SampledSequence, SampleResponse


@dataclasses.dataclass(frozen=True)
class FrozenSequence:
    """As since 0.26."""

    stop_reason: str
    sequence_id: str
    tokens_np: np.ndarray[Any, Any] | None = dataclasses.field(default=None, repr=False)
    logprobs_np: np.ndarray[Any, Any] | None = None
    _tokens_list: list[int] | None = None


@dataclasses.dataclass(frozen=True)
class FrozenResponse:
    sequences: Sequence[FrozenSequence]
    prompt_logprobs_np: np.ndarray[Any, Any] | None = None
    prompt_cache_hit_tokens: int = 0
    _prompt_logprobs_list: list[float] | None = None


@dataclasses.dataclass
class Lists:
    """One that must be told everything, and looks at it."""

    tokens: list[int]
    logprobs: list[float] | None

    def __post_init__(self) -> None:
        self.count = len(self.tokens)


@dataclasses.dataclass(slots=True)
class Slots:
    tokens: list[int]
    seen: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(init=False)
class OwnConstructor:
    tokens: list[int]

    def __init__(self, *, tokens: list[int]) -> None:
        self.tokens, self.reversed = tokens, tokens and tokens[::-1]


@dataclasses.dataclass
class Newer:
    tokens: list[int]
    entropy: float


OURS = SampleResponse(
    [SampledSequence("stop", "a", tokens=[1, 2], logprobs=[-1.0, -2.0]), SampledSequence("length", tokens=[])]
)


def test_a_result_is_what_the_class_itself_makes() -> None:
    made = response_builder(FrozenResponse, FrozenSequence)(OURS)
    assert type(made) is FrozenResponse
    assert type(made.sequences) is list
    first, second = made.sequences
    assert first.tokens_np.tolist() == [1, 2]
    assert first.logprobs_np.tolist() == [-1, -2]
    assert vars(second) == vars(FrozenSequence("length", "", second.tokens_np))
    assert vars(made) == vars(FrozenResponse(made.sequences))
    assert dataclasses.replace(first, stop_reason="length").stop_reason == "length"
    assert repr(pickle.loads(pickle.dumps(made))) == repr(made)
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.stop_reason = "length"


def test_results_share_nothing() -> None:
    build = response_builder(FrozenResponse, FrozenSequence)
    one, other = build(OURS), build(OURS)
    one.sequences[0].tokens_np[0] = 7
    vars(one)["note"] = "mine"
    assert other.sequences[0].tokens_np.tolist() == [1, 2]
    assert not hasattr(other, "note")


@pytest.mark.parametrize("sequence", [Lists, Slots, OwnConstructor])
def test_a_constructor_that_does_more_is_called(sequence: Any) -> None:
    made = response_builder(FrozenResponse, sequence)(OURS).sequences[0]
    expected = Lists([1, 2], [-1, -2]) if sequence is Lists else sequence(tokens=[1, 2])
    assert made == expected
    assert getattr(made, "count", 2) == 2
    assert getattr(made, "reversed", [2, 1]) == [2, 1]


def test_what_is_wanted_and_not_there_is_none() -> None:
    without = SampleResponse([SampledSequence("stop", tokens=[1])])
    assert response_builder(FrozenResponse, Lists)(without).sequences == [Lists([1], None)]


def test_what_is_wanted_and_not_known_is_told_at_once() -> None:
    with pytest.raises(MisfitError, match="Newer wants what is not known here: entropy"):
        response_builder(FrozenResponse, Newer)


def test_a_malformed_result_is_an_error() -> None:
    with pytest.raises(APIResponseValidationError, match="malformed sample result"):
        response_builder(FrozenResponse, FrozenSequence)(SampleResponse.from_wire(b"nonsense"))
