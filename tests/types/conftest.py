"""The public types: here, a result as the engine sends it, with every field in use."""

from __future__ import annotations

import math

import msgspec
import pytest

from tests.types.wire import float32, int32, int64
from tinker_sidecar.ipc import protocol

EMPTY = (0, -99999.0)


@pytest.fixture(scope="session")
def full_result() -> protocol.SampleResult:
    """Every field in use: a prompt of three tokens, two completions."""
    return protocol.SampleResult(
        sequences=[
            protocol.PackedSequence(
                "stop",
                "seq-a",
                int32(5, 6),
                float32(-0.5, -0.25),
                protocol.PackedTopK(2, int32(5, 9, 6, EMPTY[0]), float32(-0.5, -2, -0.25, EMPTY[1])),
            ),
            protocol.PackedSequence("length", "seq-b", int32(7), None),
        ],
        prompt_logprobs=float32(math.nan, -1.5, -2.5),
        topk_prompt_logprobs=protocol.PackedTopK(1, int32(EMPTY[0], 3, 4), float32(EMPTY[1], -1.5, -2.5)),
        prompt_cache_hit_tokens=2,
        target_prompt_logprobs=protocol.PackedTensor("float32", [2, 2], float32(-1, 0, -2, -3)),
        prompt_alt_tokens=(
            protocol.PackedTensor("int64", [2, 1], int64(8, 9)),
            protocol.PackedTensor("float32", [2, 1], float32(-4, -5)),
        ),
    )


@pytest.fixture(scope="session")
def full_payload(full_result: protocol.SampleResult) -> bytes:
    return msgspec.msgpack.encode(full_result)
