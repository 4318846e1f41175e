"""Objects of the official SDK are taken wherever ours are. Runs where that SDK is installed."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from tinker_client.types import ModelInput, SamplingParams, TensorData


@pytest.fixture(scope="module")
def official() -> Any:
    return pytest.importorskip("tinker.types")


def test_prompts(official: Any) -> None:
    chunks: list[dict[str, Any]] = [
        {"type": "encoded_text", "tokens": [1, 2]},
        {"type": "image", "data": b"pixels", "format": "png", "expected_tokens": 2},
        {"type": "image_asset_pointer", "location": "s3://a", "format": "jpeg"},
        {"type": "dmel", "dmel": b"\x00\x01\x02"},
    ]
    theirs = official.ModelInput(chunks=chunks)
    ours = ModelInput(chunks=chunks)  # type: ignore[arg-type]
    assert ModelInput.coerce(theirs) == ours
    assert ModelInput(chunks=theirs.chunks) == ours
    assert ModelInput.empty().append(theirs.chunks[0]).to_ints() == [1, 2]
    assert theirs.model_dump() == ours.model_dump()
    assert [chunk.length for chunk in theirs.chunks[::3]] == [chunk.length for chunk in ours.chunks[::3]]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"exclude_none": True},
        {"exclude_unset": True},
        {"exclude_defaults": True},
        {"include": {"seed", "chunks"}},
        {"exclude": {"seed", "chunks"}},
    ],
)
def test_they_are_dumped_and_read_alike(official: Any, options: dict[str, Any]) -> None:
    chunks = [
        {"type": "encoded_text", "tokens": [1, 2]},
        {"type": "image", "data": b"pixels", "format": "png"},
        {"type": "image_asset_pointer", "location": "s3://a", "format": "jpeg", "expected_tokens": 4},
        {"type": "dmel", "dmel": b"\x00\x01\x02"},
    ]
    pairs = [
        (official.ModelInput(chunks=chunks), ModelInput(chunks=chunks)),  # type: ignore[arg-type]
        (official.SamplingParams(max_tokens=3, stop=["a"]), SamplingParams(max_tokens=3, stop=["a"])),
    ]
    for theirs, ours in pairs:
        if "exclude_unset" not in options or isinstance(ours, SamplingParams):
            assert ours.model_dump(**options) == theirs.model_dump(**options)
            assert ours.model_dump(mode="json", **options) == theirs.model_dump(mode="json", **options)
            assert ours.model_dump_json(**options) == theirs.model_dump_json(**options)
        assert type(ours).model_validate(theirs) == ours
        assert type(ours).model_validate_json(theirs.model_dump_json()) == ours
        assert type(theirs).model_validate_json(ours.model_dump_json()) == theirs


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"stop": "a"},
        {"stop": ["a"]},
        {"stop": [1]},
        {"max_tokens": 3, "seed": 4, "temperature": 0, "top_k": 5},
    ],
)
def test_sampling_params(official: Any, arguments: dict[str, Any]) -> None:
    assert SamplingParams.coerce(official.SamplingParams(**arguments)) == SamplingParams(**arguments)


def test_params_that_cannot_be_are_refused(official: Any) -> None:
    with pytest.raises(ValueError, match="top_p must be a number in"):
        SamplingParams.coerce(official.SamplingParams(top_p=0))


def test_what_has_changed_is_seen(official: Any) -> None:
    """The latest prompt and parameters are remembered by clients, but theirs hold lists."""
    prompt = official.ModelInput.from_ints([1, 2])
    params = official.SamplingParams(stop=["a"])
    for token in (3, 4):
        prompt.chunks[0].tokens.append(token)
        params.stop.append("b")
        assert ModelInput.coerce(prompt).to_ints() == prompt.to_ints()
        assert SamplingParams.coerce(params).stop == params.stop


def test_tensors(official: Any) -> None:
    sparse: dict[str, Any] = {
        "data": [1, 2],
        "dtype": "int64",
        "shape": [2, 3],
        "sparse_crow_indices": [0, 1, 2],
        "sparse_col_indices": [1, 0],
    }
    matrix = np.array([[1, 2], [3, 4]])
    assert TensorData.coerce(official.TensorData.from_numpy(matrix)) == TensorData.from_numpy(matrix)
    assert TensorData.coerce(official.TensorData([1.5], "float32")) == TensorData([1.5], "float32")
    assert TensorData.coerce(official.TensorData(**sparse)) == TensorData(**sparse)


def test_subclasses_too(official: Any) -> None:
    class Mine(official.SamplingParams):  # type: ignore[name-defined, misc]
        pass

    assert SamplingParams.coerce(Mine(seed=1)) == SamplingParams(seed=1)


def test_namesakes_are_not_mistaken_for_it() -> None:
    class Namesake:
        max_tokens = seed = stop = None
        temperature, top_k, top_p = 1.0, -1, 1.0

    Namesake.__name__ = "SamplingParams"
    Namesake.__module__ = "vllm.sampling_params"
    with pytest.raises(TypeError, match=r"sampling_params must be a types.SamplingParams"):
        SamplingParams.coerce(Namesake())


def test_the_official_sdk_is_never_imported() -> None:
    script = (
        "import sys, tinker_client.types as types\n"
        "try: types.ModelInput.coerce(object())\n"
        "except TypeError: print('tinker' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
