"""Results as a server may send them: one description, written as JSON and as protobuf."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tinker_sidecar.ipc.protocol import (
    PackedParams,
    PackedSequence,
    PackedTensor,
    PackedText,
    PackedTopK,
    RequestSpec,
    SampleResult,
)
from tinker_sidecar.proto import sample_response_pb2 as pb

__all__ = ["JSON", "PROTOBUF", "Answer", "answers", "ask", "float32", "int32", "int64"]

JSON = "application/json"
PROTOBUF = "application/x-protobuf"

Row = list[tuple[int, float]]


def int32(values: Sequence[int]) -> memoryview:
    return memoryview(array("i", values).tobytes())


def int64(values: Sequence[int]) -> memoryview:
    return memoryview(array("q", values).tobytes())


def float32(values: Sequence[float | None]) -> memoryview:
    return memoryview(array("f", [math.nan if value is None else value for value in values]).tobytes())


def ask(prompt_tokens: int = 4, num_samples: int = 1) -> RequestSpec:
    """For nothing special, with a prompt of so many tokens."""
    params = PackedParams(8, None, None, 1.0, -1, 1.0)
    return RequestSpec(1, 4 * prompt_tokens, [PackedText(int32(range(prompt_tokens)))], num_samples, params)


@dataclass(frozen=True)
class DenseTensor:
    dtype: str
    shape: list[int]
    values: list[Any]

    def json(self) -> dict[str, Any]:
        return {"data": self.values, "dtype": self.dtype, "shape": self.shape}

    def protobuf(self) -> pb.Tensor:
        return pb.Tensor(
            dense=self._cells.tobytes(),
            dtype=pb.FLOAT32 if self.dtype == "float32" else pb.INT64,
            shape=self.shape,
        )

    def expected(self) -> PackedTensor:
        return PackedTensor(self.dtype, self.shape, self._cells)

    @property
    def _cells(self) -> memoryview:
        return float32(self.values) if self.dtype == "float32" else int64(self.values)


@dataclass(frozen=True)
class Answer:
    """Every field of a result; top-k rows have all their `k` cells, or are None."""

    sequences: list[tuple[str, list[int], list[float] | None, list[Row] | None]]
    prompt_logprobs: list[float | None] | None
    topk_prompt_logprobs: list[Row | None] | None
    cache_hits: int
    target: DenseTensor | None
    alternatives: tuple[DenseTensor, DenseTensor] | None

    def json(self) -> bytes:
        body: dict[str, Any] = {
            "type": "sample",
            "sequences": [
                {"stop_reason": stop, "tokens": tokens, "logprobs": logprobs, "topk_logprobs": topk}
                for stop, tokens, logprobs, topk in self.sequences
            ],
            "prompt_logprobs": self.prompt_logprobs,
            "topk_prompt_logprobs": self.topk_prompt_logprobs,
            "prompt_cache_hit_tokens": self.cache_hits,
            "target_prompt_logprobs": self.target and self.target.json(),
            "a_field_of_the_future": [{"unknown": None}],
        }
        if self.alternatives is not None:
            tokens, logprobs = self.alternatives
            body["prompt_alt_tokens"] = {"tokens": tokens.json(), "logprobs": logprobs.json()}
        return json.dumps(body).encode()

    def protobuf(self) -> bytes:
        message = pb.SampleResponse(prompt_cache_hit_tokens=self.cache_hits)
        for stop, tokens, logprobs, topk in self.sequences:
            sequence = message.sequences.add(
                stop_reason=pb.LENGTH if stop == "length" else pb.STOP, tokens=int32(tokens).tobytes()
            )
            if logprobs is not None:
                sequence.logprobs = float32(logprobs).tobytes()
            if topk is not None:
                sequence.topk_sampled_logprobs.CopyFrom(_protobuf_topk(topk))
        if self.prompt_logprobs is not None:
            message.prompt_logprobs = float32(self.prompt_logprobs).tobytes()
        if self.topk_prompt_logprobs is not None:
            message.topk_prompt_logprobs.CopyFrom(_protobuf_topk(self.topk_prompt_logprobs))
        if self.target is not None:
            message.target_prompt_logprobs.CopyFrom(self.target.protobuf())
        if self.alternatives is not None:
            tokens_of, logprobs_of = self.alternatives
            message.prompt_alt_tokens.CopyFrom(
                pb.PromptAltTokens(tokens=tokens_of.protobuf(), logprobs=logprobs_of.protobuf())
            )
        encoded: bytes = message.SerializeToString()
        return encoded

    def expected(self, sequence_ids: list[str]) -> SampleResult:
        return SampleResult(
            sequences=[
                PackedSequence(
                    "length" if stop == "length" else "stop",
                    sequence_id,
                    int32(tokens),
                    None if logprobs is None else float32(logprobs),
                    None if topk is None else _topk(topk),
                )
                for (stop, tokens, logprobs, topk), sequence_id in zip(
                    self.sequences, sequence_ids, strict=True
                )
            ],
            prompt_logprobs=None if self.prompt_logprobs is None else float32(self.prompt_logprobs),
            topk_prompt_logprobs=None
            if self.topk_prompt_logprobs is None
            else _topk(self.topk_prompt_logprobs),
            prompt_cache_hit_tokens=self.cache_hits,
            target_prompt_logprobs=None if self.target is None else self.target.expected(),
            prompt_alt_tokens=self.alternatives
            and (self.alternatives[0].expected(), self.alternatives[1].expected()),
        )


def _topk(rows: Sequence[Row | None]) -> PackedTopK:
    k = max((len(row) for row in rows if row is not None), default=0)
    cells = [cell for row in rows for cell in (row or [(0, -99999.0)] * k)]
    return PackedTopK(k, int32([token for token, _ in cells]), float32([logprob for _, logprob in cells]))


def _protobuf_topk(rows: Sequence[Row | None]) -> pb.TopkLogprobs:
    topk = _topk(rows)
    return pb.TopkLogprobs(
        token_ids=topk.token_ids.tobytes(), logprobs=topk.logprobs.tobytes(), k=topk.k, length=len(rows)
    )


_tokens = st.integers(0, 2**31 - 1)
_logprobs = st.floats(-1e6, 0.0, width=32)


def _rows(length: int, k: int) -> st.SearchStrategy[list[Row]]:
    return st.lists(
        st.lists(st.tuples(_tokens, _logprobs), min_size=k, max_size=k), min_size=length, max_size=length
    )


def _or_none(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def _lists(values: st.SearchStrategy[Any], length: int) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, min_size=length, max_size=length)


@st.composite
def answers(draw: st.DrawFn, prompt_tokens: int = 4) -> Answer:
    """Results for a prompt of so many tokens."""
    sequences = []
    for _ in range(draw(st.integers(1, 3))):
        length, k = draw(st.integers(0, 5)), draw(st.integers(1, 3))
        sequences.append(
            (
                draw(st.sampled_from(["stop", "length"])),
                draw(_lists(_tokens, length)),
                draw(_or_none(_lists(_logprobs, length))),
                draw(_or_none(_rows(length, k))) if length else None,
            )
        )
    k = draw(st.integers(1, 3))
    scored = [None, *draw(_lists(_or_none(_logprobs), prompt_tokens - 1))]
    likeliest: list[Row | None] = [None, *draw(_rows(prompt_tokens - 1, k))]
    cells, shape = (prompt_tokens - 1) * k, [prompt_tokens - 1, k]
    floats = DenseTensor("float32", shape, draw(_lists(_logprobs, cells)))
    ids = DenseTensor("int64", shape, draw(_lists(_tokens, cells)))
    return Answer(
        sequences,
        draw(st.sampled_from([None, scored])),
        draw(st.sampled_from([None, likeliest])),
        draw(st.integers(0, 2**31 - 1)),
        draw(st.sampled_from([None, floats])),
        draw(st.sampled_from([None, (ids, floats)])),
    )
