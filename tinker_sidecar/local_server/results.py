"""A generation's result as bytes: protobuf once, when it is finished; JSON from that, when asked for."""

from __future__ import annotations

import math
from array import array
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from tinker_sidecar.proto import sample_response_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tinker_sidecar.local_server.engines import GenerationResult, TopKRows
    from tinker_sidecar.local_server.wire import TensorBody

__all__ = ["to_json", "to_protobuf"]

_EMPTY_CELL = (0, -99999.0)
_STOP_REASONS = {"stop": pb.STOP, "length": pb.LENGTH}

_encode_json = msgspec.json.Encoder().encode


def to_protobuf(result: GenerationResult, target: TensorBody | None) -> bytes:
    """Serialize `result`; `target` is the request's `target_prompt_logprobs`, whose layout the answer has."""
    message = pb.SampleResponse(prompt_cache_hit_tokens=result.prompt_cache_hit_tokens)
    add_sequence = message.sequences.add
    for completion in result.completions:
        sequence = add_sequence(
            stop_reason=_STOP_REASONS[completion.stop_reason],
            tokens=array("i", completion.tokens).tobytes(),
            logprobs=array("f", completion.logprobs).tobytes(),
        )
        if completion.topk_logprobs is not None:
            sequence.topk_sampled_logprobs.CopyFrom(_pack_topk(completion.topk_logprobs))
    if result.prompt_logprobs is not None:
        message.prompt_logprobs = _floats(math.nan if x is None else x for x in result.prompt_logprobs)
    if result.topk_prompt_logprobs is not None:
        message.topk_prompt_logprobs.CopyFrom(_pack_topk(result.topk_prompt_logprobs))
    if result.target_prompt_logprobs is not None and target is not None:
        message.target_prompt_logprobs.CopyFrom(_pack_targets(result.target_prompt_logprobs, target))
    if result.prompt_alt_tokens is not None and result.prompt_alt_logprobs is not None:
        alternatives = message.prompt_alt_tokens
        alternatives.tokens.CopyFrom(_pack_matrix(result.prompt_alt_tokens, "q", pb.INT64))
        alternatives.logprobs.CopyFrom(_pack_matrix(result.prompt_alt_logprobs, "f", pb.FLOAT32))
    payload: bytes = message.SerializeToString()
    return payload


def _floats(values: Iterable[float]) -> bytes:
    return array("f", values).tobytes()


def _pack_topk(topk: TopKRows) -> pb.TopkLogprobs:
    # An engine may repeat one row object at many positions: each is packed once.
    distinct = {id(row): row for row in topk.rows}
    packed = {key: _pack_row(row, topk.k) for key, row in distinct.items()}
    rows = [packed[id(row)] for row in topk.rows]
    return pb.TopkLogprobs(
        token_ids=b"".join([ids for ids, _ in rows]),
        logprobs=b"".join([logprobs for _, logprobs in rows]),
        k=topk.k,
        length=len(rows),
    )


def _pack_row(row: list[tuple[int, float]] | None, k: int) -> tuple[bytes, bytes]:
    cells = row or []
    cells = cells + [_EMPTY_CELL] * (k - len(cells))
    return array("i", [token for token, _ in cells]).tobytes(), _floats(logprob for _, logprob in cells)


def _pack_targets(rows: list[list[float]], target: TensorBody) -> pb.Tensor:
    values = _floats(chain.from_iterable(rows))
    tensor = pb.Tensor(dtype=pb.FLOAT32, shape=target.shape)
    if target.sparse_crow_indices is None or target.sparse_col_indices is None:
        tensor.dense = values
    else:
        tensor.sparse_csr.values = values
        tensor.sparse_csr.crow_indices = array("q", target.sparse_crow_indices).tobytes()
        tensor.sparse_csr.col_indices = array("q", target.sparse_col_indices).tobytes()
    return tensor


def _pack_matrix(rows: list[list[Any]], typecode: str, dtype: pb.DType) -> pb.Tensor:
    data = array(typecode, chain.from_iterable(rows)).tobytes()
    return pb.Tensor(dense=data, dtype=dtype, shape=[len(rows), len(rows[0]) if rows else 0])


def to_json(payload: bytes) -> bytes:
    """The JSON form of what `to_protobuf` made, with the same values."""
    message = pb.SampleResponse.FromString(payload)
    answer: dict[str, Any] = {
        "type": "sample",
        "sequences": [_sequence(sequence) for sequence in message.sequences],
        "prompt_cache_hit_tokens": message.prompt_cache_hit_tokens,
    }
    if message.HasField("prompt_logprobs"):
        logprobs = memoryview(message.prompt_logprobs).cast("f").tolist()
        answer["prompt_logprobs"] = [None if math.isnan(x) else x for x in logprobs]
    if message.HasField("topk_prompt_logprobs"):
        answer["topk_prompt_logprobs"] = _topk_rows(message.topk_prompt_logprobs)
    if message.HasField("target_prompt_logprobs"):
        answer["target_prompt_logprobs"] = _tensor(message.target_prompt_logprobs)
    if message.HasField("prompt_alt_tokens"):
        alternatives = message.prompt_alt_tokens
        answer["prompt_alt_tokens"] = {
            "tokens": _tensor(alternatives.tokens),
            "logprobs": _tensor(alternatives.logprobs),
        }
    return _encode_json(answer)


def _sequence(sequence: pb.SampledSequence) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "stop_reason": "stop" if sequence.stop_reason == pb.STOP else "length",
        "tokens": memoryview(sequence.tokens).cast("i").tolist(),
        "logprobs": memoryview(sequence.logprobs).cast("f").tolist(),
    }
    if sequence.HasField("topk_sampled_logprobs"):
        answer["topk_logprobs"] = _topk_rows(sequence.topk_sampled_logprobs)
    return answer


def _topk_rows(topk: pb.TopkLogprobs) -> list[list[tuple[int, float]] | None]:
    ids = memoryview(topk.token_ids).cast("i").tolist()
    logprobs = memoryview(topk.logprobs).cast("f").tolist()
    cells = list(zip(ids, logprobs, strict=True))
    rows = [cells[start : start + topk.k] for start in range(0, len(cells), topk.k)]
    return [[cell for cell in row if cell != _EMPTY_CELL] or None for row in rows]


def _tensor(tensor: pb.Tensor) -> dict[str, Any]:
    sparse = tensor.HasField("sparse_csr")
    values = tensor.sparse_csr.values if sparse else tensor.dense
    whole = tensor.dtype == pb.INT64
    answer: dict[str, Any] = {
        "data": memoryview(values).cast("q" if whole else "f").tolist(),
        "dtype": "int64" if whole else "float32",
        "shape": list(tensor.shape),
    }
    if sparse:
        answer["sparse_crow_indices"] = memoryview(tensor.sparse_csr.crow_indices).cast("q").tolist()
        answer["sparse_col_indices"] = memoryview(tensor.sparse_csr.col_indices).cast("q").tolist()
    return answer
