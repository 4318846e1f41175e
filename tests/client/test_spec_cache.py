"""Requests that ask for the same share one message; none is given that of one which asks for another.

Objects of the official SDK are told by the names of their classes and module, so stand-ins do for them here;
tests/types/test_official_objects.py has the real ones.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tinker_client.sampling_request import SamplingRequest, SpecCache
from tinker_client.types import EncodedTextChunk, ModelInput, SamplingParams
from tinker_sidecar.ipc.protocol import PackedText, RequestSpec

PROMPT = ModelInput.from_ints([1, 2])
PARAMS = SamplingParams(max_tokens=4)


@cache
def official_class(name: str) -> Any:
    return type(name, (SimpleNamespace,), {"__module__": "tinker.types"})


def official(name: str, **fields: Any) -> Any:
    return official_class(name)(**fields)


def official_prompt(tokens: Any) -> Any:
    return official("ModelInput", chunks=[official("EncodedTextChunk", type="encoded_text", tokens=tokens)])


def official_params(stop: Any = None) -> Any:
    return official("SamplingParams", max_tokens=4, seed=None, stop=stop, temperature=1, top_k=-1, top_p=1)


def tokens_of(spec: RequestSpec) -> list[int]:
    (chunk,) = spec.prompt
    assert isinstance(chunk, PackedText)
    return list(chunk.tokens.cast("i"))


EQUAL_REQUESTS: dict[str, Callable[[], SamplingRequest]] = {
    "the same objects": lambda: SamplingRequest(PROMPT, 1, PARAMS),
    "equal ones": lambda: SamplingRequest(ModelInput.from_ints([1, 2]), 1, SamplingParams(max_tokens=4)),
    "official ones": lambda: SamplingRequest(official_prompt([1, 2]), 1, official_params()),
    "ours and official": lambda: SamplingRequest(PROMPT, 1, official_params(["a"])),
    "official and ours": lambda: SamplingRequest(official_prompt((1, 2)), 1, PARAMS),
}


@pytest.mark.parametrize("request_of", EQUAL_REQUESTS.values(), ids=EQUAL_REQUESTS)
def test_requests_that_ask_for_the_same_share_a_spec(request_of: Callable[[], SamplingRequest]) -> None:
    specs = SpecCache()
    assert specs.spec_of(request_of()) is specs.spec_of(request_of())


@pytest.mark.parametrize("request_of", EQUAL_REQUESTS.values(), ids=EQUAL_REQUESTS)
def test_so_is_one_that_another_sampler_has_been_asked(request_of: Callable[[], SamplingRequest]) -> None:
    """And each still has its own when others have been asked for more."""
    some, others = SpecCache(), SpecCache()
    spec = some.spec_of(request_of())
    assert others.spec_of(request_of()) is spec
    others.spec_of(SamplingRequest(ModelInput.from_ints([99]), 1, PARAMS))
    assert some.spec_of(request_of()) is spec


@pytest.mark.parametrize("kind", [list, deque, type("Tokens", (list,), {}), np.array])
def test_a_prompt_that_was_changed_in_place(kind: Callable[[list[int]], Any]) -> None:
    specs, tokens = SpecCache(), kind([1, 2])
    request = SamplingRequest(official_prompt(tokens), 1, PARAMS)
    assert tokens_of(specs.spec_of(request)) == [1, 2]
    tokens[0] = 7
    assert tokens_of(specs.spec_of(request)) == [7, 2]


def test_a_prompt_of_ours_whose_list_was_changed() -> None:
    specs, prompt = SpecCache(), ModelInput.from_ints([1, 2])
    request = SamplingRequest(prompt, 1, PARAMS)
    assert tokens_of(specs.spec_of(request)) == [1, 2]
    prompt.chunks[0] = EncodedTextChunk(tokens=[3])
    assert tokens_of(specs.spec_of(request)) == [3]


@pytest.mark.parametrize("params_of", [official_params, lambda stop: SamplingParams(max_tokens=4, stop=stop)])
@pytest.mark.parametrize("kind", [list, deque])
def test_a_stop_that_was_changed_in_place(params_of: Callable[[Any], Any], kind: Any) -> None:
    specs, params = SpecCache(), params_of(kind(["a"]))
    request = SamplingRequest(PROMPT, 1, params)
    assert specs.spec_of(request).params.stop == ["a"]
    params.stop.append("b")
    assert specs.spec_of(request).params.stop == ["a", "b"]


def test_a_chunk_of_a_dictionary_whose_list_was_changed() -> None:
    tokens = [1, 2]
    prompt = official("ModelInput", chunks=[{"type": "encoded_text", "tokens": tokens}])
    request = SamplingRequest(prompt, 1, PARAMS)
    assert tokens_of(SpecCache().spec_of(request)) == [1, 2]
    tokens[0] = 7
    assert tokens_of(SpecCache().spec_of(request)) == [7, 2]


def test_a_subclass_is_another_prompt() -> None:
    class Shouting(ModelInput, frozen=True, kw_only=True):
        def to_wire(self) -> list[Any]:
            return ModelInput.from_ints([42]).to_wire()

    specs = SpecCache()
    assert tokens_of(specs.spec_of(SamplingRequest(PROMPT, 1, PARAMS))) == [1, 2]
    shouting = Shouting(chunks=PROMPT.chunks)
    assert tokens_of(specs.spec_of(SamplingRequest(shouting, 1, PARAMS))) == [42]


def test_an_equal_value_of_a_wrong_type_is_refused_all_the_same() -> None:
    specs = SpecCache()
    specs.spec_of(SamplingRequest(PROMPT, 1, PARAMS))
    with pytest.raises(TypeError, match="num_samples must be an int, 1 or more, got bool: True"):
        specs.spec_of(SamplingRequest(PROMPT, True, PARAMS))


@pytest.mark.parametrize("max_tokens", [True, 1.0])
def test_so_is_one_in_official_parameters(max_tokens: object) -> None:
    """Whether or not another sampler has been asked for the equal value."""
    right = official("SamplingParams", **{**vars(official_params()), "max_tokens": 1})
    wrong = official("SamplingParams", **{**vars(official_params()), "max_tokens": max_tokens})
    SpecCache().spec_of(SamplingRequest(PROMPT, 1, right))
    with pytest.raises(TypeError, match="max_tokens"):
        SpecCache().spec_of(SamplingRequest(PROMPT, 1, wrong))


def test_nothing_is_kept_for_samplers_that_are_gone() -> None:
    specs = SpecCache()
    kept = weakref.ref(specs)
    specs.spec_of(SamplingRequest(PROMPT, 1, PARAMS))
    del specs
    assert kept() is None
