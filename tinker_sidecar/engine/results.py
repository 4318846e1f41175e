"""Results, from the JSON or protobuf of `retrieve_future` to our `SampleResult`."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from tinker_sidecar.engine.failures import EngineError, invalid_response
from tinker_sidecar.engine.protobuf import Message
from tinker_sidecar.engine.requests import prompt_length
from tinker_sidecar.ipc.protocol import (
    Failure,
    PackedSequence,
    PackedTensor,
    PackedTopK,
    RequestSpec,
    SampleResult,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PROTOBUF", "Decoded", "PayloadBytes", "PayloadSize", "Pending", "Promise", "decode_answer"]

PROTOBUF = "application/x-protobuf"

_EMPTY_TOKEN = 0
_EMPTY_LOGPROB = -99999.0
_STOP_REASONS = ("stop", "length")
_PROTOBUF_DTYPES = {1: "float32", 2: "int64", 3: "int32", 4: "bfloat16"}

PayloadBytes = Annotated[int, Meta(ge=0, le=1 << 40)]
"""How many bytes a server says that a result has."""

_encode_result = msgspec.msgpack.Encoder().encode


class Promise(msgspec.Struct, frozen=True, gc=False):
    """The answer to `asample`."""

    request_id: str
    sample_sequence_ids: tuple[str, ...] | None = None


class Pending(msgspec.Struct):
    """Ask again."""

    queue_state: str | None
    reason: str | None


class PayloadSize(msgspec.Struct):
    """The result is ready and this large; ask again once there is room for it."""

    size: int


class Decoded(msgspec.Struct, frozen=True, gc=False):
    """A result."""

    payload: bytes
    """An encoded `SampleResult`."""
    tokens: int
    """How many have been sampled."""


class _JsonSequence(msgspec.Struct):
    tokens: list[int]
    stop_reason: str
    logprobs: list[float | None] | None = None
    topk_logprobs: list[list[tuple[int, float]] | None] | None = None


class _JsonTensor(msgspec.Struct):
    data: list[float]
    dtype: str
    shape: list[int] | None = None
    sparse_crow_indices: list[int] | None = None
    sparse_col_indices: list[int] | None = None


class _JsonAltTokens(msgspec.Struct):
    tokens: _JsonTensor
    logprobs: _JsonTensor


class _JsonAnswer(msgspec.Struct):
    """Every JSON answer at once: which fields are there says which it is."""

    sequences: list[_JsonSequence] | None = None
    prompt_logprobs: list[float | None] | None = None
    topk_prompt_logprobs: list[list[tuple[int, float]] | None] | None = None
    prompt_cache_hit_tokens: int | None = None
    target_prompt_logprobs: _JsonTensor | None = None
    prompt_alt_tokens: _JsonAltTokens | None = None
    type: str | None = None
    status: str | None = None
    queue_state: str | None = None
    queue_state_reason: str | None = None
    response_payload_size: PayloadBytes | None = None
    error: str | None = None
    category: str | None = None


_decode_json = msgspec.json.Decoder(_JsonAnswer).decode


def decode_answer(
    content_type: str, content: bytes, promise: Promise, spec: RequestSpec
) -> Decoded | Pending | PayloadSize:
    """What a 200 from `retrieve_future` says of who asked for `spec`.

    Raises `EngineError` when the request failed (`RequestFailedError`) or the answer is malformed
    (`APIResponseValidationError`).
    """
    if content_type.startswith(PROTOBUF):
        result = _from_protobuf(content, promise)
    else:
        try:
            answer = _decode_json(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise invalid_response(
                f"malformed result of request {promise.request_id}: {error}", content
            ) from None
        if answer.sequences is None:
            return _not_a_result(answer, content, promise)
        result = _from_json(answer, promise)
    prompt_tokens = prompt_length(spec.prompt)
    if prompt_tokens is not None:
        result = _with_whole_prompt(result, prompt_tokens)
    try:
        _check_lengths(spec, prompt_tokens, result)
    except ValueError as error:
        raise invalid_response(f"malformed result of request {promise.request_id}: {error}") from None
    _check_honoured(spec, result)
    try:
        tokens = sum(len(sequence.tokens) for sequence in result.sequences) // 4
        return Decoded(_encode_result(result), tokens)
    except OverflowError as error:  # JSON has integers of any size.
        raise invalid_response(f"malformed result of request {promise.request_id}: {error}") from None


def _not_a_result(answer: _JsonAnswer, content: bytes, promise: Promise) -> Pending | PayloadSize:
    if answer.error is not None:
        raise EngineError(
            Failure(
                "RequestFailedError",
                answer.error,
                request_id=promise.request_id,
                category=answer.category or "unknown",
            )
        )
    if answer.type == "try_again":
        return Pending(answer.queue_state, answer.queue_state_reason)
    if answer.status == "complete_metadata" and answer.response_payload_size is not None:
        return PayloadSize(answer.response_payload_size)
    raise invalid_response(f"the result of request {promise.request_id} has no `sequences`", content)


def _check_lengths(spec: RequestSpec, prompt_tokens: int | None, result: SampleResult) -> None:
    """Raise ValueError unless there is one entry a token, and a sequence for each sample.

    A body cut short can still parse. A sequence longer than `max_tokens` is of another request: servers take
    two requests with the same number for one.
    """
    most = spec.params.max_tokens
    if len(result.sequences) != spec.num_samples:
        raise ValueError(f"{len(result.sequences)} sequences instead of {spec.num_samples}")
    for sequence in result.sequences:
        tokens = len(sequence.tokens) // 4
        if most is not None and tokens > most:
            raise ValueError(f"{tokens} tokens, where max_tokens is {most}")
        _check_length("logprobs", sequence.logprobs, tokens)
        _check_rows("topk_logprobs", sequence.topk_logprobs, tokens)
    if prompt_tokens is None:
        return
    if spec.prompt_logprobs:  # Some servers send an empty list where none were asked for.
        _check_length("prompt_logprobs", result.prompt_logprobs, prompt_tokens)
    if spec.topk_prompt_logprobs:
        _check_rows("topk_prompt_logprobs", result.topk_prompt_logprobs, prompt_tokens)


def _check_length(name: str, values: memoryview | None, tokens: int) -> None:
    if values is not None and len(values) != 4 * tokens:
        raise ValueError(f"{len(values) // 4} {name} for {tokens} tokens")


def _check_rows(name: str, topk: PackedTopK | None, tokens: int) -> None:
    if topk is not None and topk.k and len(topk.token_ids) != 4 * topk.k * tokens:
        raise ValueError(f"{len(topk.token_ids) // (4 * topk.k)} rows of {name} for {tokens} tokens")


def _check_honoured(spec: RequestSpec, result: SampleResult) -> None:
    """Fail where a server too old for a feature ignored it, rather than pass on what was not asked for."""
    if spec.prompt_alt_tokens_k and result.prompt_alt_tokens is None:
        raise _ignored("prompt_alt_tokens_k")
    if spec.target_prompt_logprobs is not None and result.target_prompt_logprobs is None:
        raise _ignored("target_prompt_logprobs")
    last_n, logprobs = spec.prompt_logprobs_last_n, result.prompt_logprobs
    if last_n is not None and logprobs is not None:
        before = logprobs.cast("f")[: max(0, len(logprobs) // 4 - last_n)]
        if not all(map(math.isnan, before)):
            raise _ignored("prompt_logprobs_last_n")


def _ignored(feature: str) -> EngineError:
    return EngineError(
        Failure("TinkerError", f"the server ignored {feature}: it seems to be older than that feature")
    )


def _with_whole_prompt(result: SampleResult, prompt_tokens: int) -> SampleResult:
    """Some servers leave out the first prompt token, which has no logprob: callers get one entry a token."""
    logprobs, topk = result.prompt_logprobs, result.topk_prompt_logprobs
    if logprobs is not None and len(logprobs) // 4 == prompt_tokens - 1:
        whole = memoryview(array("f", [math.nan]).tobytes() + logprobs.tobytes())
        result = msgspec.structs.replace(result, prompt_logprobs=whole)
    if topk is not None and topk.k and len(topk.token_ids) // (4 * topk.k) == prompt_tokens - 1:
        empty = _topk([None], topk.k)
        whole_topk = PackedTopK(
            topk.k,
            memoryview(empty.token_ids.tobytes() + topk.token_ids.tobytes()),
            memoryview(empty.logprobs.tobytes() + topk.logprobs.tobytes()),
        )
        result = msgspec.structs.replace(result, topk_prompt_logprobs=whole_topk)
    return result


def _sequence_id(promise: Promise, index: int) -> str:
    """The id the server fixed at submission; older servers give none."""
    ids = promise.sample_sequence_ids
    return ids[index] if ids is not None and index < len(ids) else ""


# JSON.


def _from_json(answer: _JsonAnswer, promise: Promise) -> SampleResult:
    try:
        return SampleResult(
            sequences=[
                PackedSequence(
                    stop_reason=_stop_reason(sequence.stop_reason),
                    sequence_id=_sequence_id(promise, index),
                    tokens=_int32(sequence.tokens),
                    logprobs=None if sequence.logprobs is None else _float32(sequence.logprobs),
                    topk_logprobs=None if sequence.topk_logprobs is None else _topk(sequence.topk_logprobs),
                )
                for index, sequence in enumerate(answer.sequences or ())
            ],
            prompt_logprobs=None if answer.prompt_logprobs is None else _float32(answer.prompt_logprobs),
            topk_prompt_logprobs=(
                None if answer.topk_prompt_logprobs is None else _topk(answer.topk_prompt_logprobs)
            ),
            prompt_cache_hit_tokens=answer.prompt_cache_hit_tokens or 0,
            target_prompt_logprobs=(
                None if answer.target_prompt_logprobs is None else _json_tensor(answer.target_prompt_logprobs)
            ),
            prompt_alt_tokens=(
                None
                if answer.prompt_alt_tokens is None
                else (
                    _json_tensor(answer.prompt_alt_tokens.tokens),
                    _json_tensor(answer.prompt_alt_tokens.logprobs),
                )
            ),
        )
    except (OverflowError, ValueError, TypeError) as error:
        raise invalid_response(f"malformed result of request {promise.request_id}: {error}") from None


def _int32(values: list[int]) -> memoryview:
    return memoryview(array("i", values).tobytes())


def _float32(values: Iterable[float | None]) -> memoryview:
    return memoryview(array("f", [math.nan if value is None else value for value in values]).tobytes())


def _topk(rows: list[list[tuple[int, float]] | None], k: int | None = None) -> PackedTopK:
    """Rows of pairs as two dense matrices, short rows filled with the empty cell."""
    if k is None:
        k = max((len(row) for row in rows if row is not None), default=0)
    token_ids = array("i")
    logprobs = array("f")
    for row in rows:
        cells = row or []
        missing = k - len(cells)
        token_ids.extend([token for token, _ in cells] + [_EMPTY_TOKEN] * missing)
        logprobs.extend([logprob for _, logprob in cells] + [_EMPTY_LOGPROB] * missing)
    return PackedTopK(k, memoryview(token_ids.tobytes()), memoryview(logprobs.tobytes()))


def _json_tensor(tensor: _JsonTensor) -> PackedTensor:
    if tensor.dtype == "int64":
        if not all(map(float.is_integer, tensor.data)):
            raise ValueError("an int64 tensor holds a fraction")
        data = array("q", map(int, tensor.data)).tobytes()
    elif tensor.dtype == "float32":
        data = array("f", tensor.data).tobytes()
    else:
        raise ValueError(f"unknown tensor dtype {tensor.dtype!r}")
    crow, col = tensor.sparse_crow_indices, tensor.sparse_col_indices
    return PackedTensor(
        tensor.dtype,
        tensor.shape,
        memoryview(data),
        None if crow is None else memoryview(array("q", crow).tobytes()),
        None if col is None else memoryview(array("q", col).tobytes()),
    )


def _stop_reason(name: str) -> Any:
    if name not in _STOP_REASONS:
        raise ValueError(f"unknown stop_reason {name!r}")
    return name


# Protobuf: the field numbers are those of `tinker_sidecar/proto/sample_response.proto`.


def _from_protobuf(content: bytes, promise: Promise) -> SampleResult:
    try:
        message = Message(memoryview(content))
        fields = message.fields
        return SampleResult(
            sequences=[
                _protobuf_sequence(sequence, _sequence_id(promise, index))
                for index, sequence in enumerate(message.messages(1))
            ],
            prompt_logprobs=_cells(message.data(2)) if 2 in fields else None,
            topk_prompt_logprobs=_protobuf_topk(message.message(3)) if 3 in fields else None,
            prompt_cache_hit_tokens=message.integer(4),
            target_prompt_logprobs=_protobuf_tensor(message.message(5)) if 5 in fields else None,
            prompt_alt_tokens=_protobuf_alt_tokens(message.message(6)) if 6 in fields else None,
        )
    except ValueError as error:
        raise invalid_response(f"malformed result of request {promise.request_id}: {error}") from None


def _protobuf_sequence(sequence: Message, sequence_id: str) -> PackedSequence:
    fields, stop_reason = sequence.fields, sequence.integer(1)
    if stop_reason not in (0, 1):
        raise ValueError(f"unknown stop_reason {stop_reason}")
    return PackedSequence(
        stop_reason="length" if stop_reason else "stop",
        sequence_id=sequence_id,
        tokens=_cells(sequence.data(2)),
        logprobs=_cells(sequence.data(3)) if 3 in fields else None,
        topk_logprobs=_protobuf_topk(sequence.message(4)) if 4 in fields else None,
    )


def _cells(data: memoryview, size: int = 4) -> memoryview:
    if len(data) % size:
        raise ValueError(f"an array of {len(data)} bytes does not hold whole {size}-byte cells")
    return data


def _protobuf_topk(topk: Message) -> PackedTopK:
    token_ids, logprobs, k, length = topk.data(1), topk.data(2), topk.integer(3), topk.integer(4)
    if not len(token_ids) == len(logprobs) == 4 * k * length:
        raise ValueError(f"top-k logprobs do not fill {length} rows of {k}")
    return PackedTopK(k, token_ids, logprobs)


def _protobuf_alt_tokens(alt_tokens: Message) -> tuple[PackedTensor, PackedTensor]:
    return _protobuf_tensor(alt_tokens.message(1)), _protobuf_tensor(alt_tokens.message(2))


def _protobuf_tensor(tensor: Message) -> PackedTensor:
    dtype = _PROTOBUF_DTYPES.get(tensor.integer(3))
    if dtype is None:
        raise ValueError(f"unknown tensor dtype {tensor.integer(3)}")
    shape = tensor.integers(4) or None
    if 2 in tensor.fields:
        csr = tensor.message(2)
        data, crow, col = csr.data(1), _cells(csr.data(2), 8), _cells(csr.data(3), 8)
    else:
        data, crow, col = tensor.data(1), None, None
    dtype, cells = _widened(dtype, data)
    return PackedTensor(dtype, shape, cells, crow, col)


def _widened(dtype: str, data: memoryview) -> tuple[str, memoryview]:
    """Values as one of the two public dtypes, int64 and float32."""
    if dtype == "int32":
        return "int64", memoryview(array("q", _cells(data).cast("i")).tobytes())
    if dtype == "bfloat16":
        # A bfloat16 is the upper half of a float32.
        halves = _cells(data, 2).cast("H")
        return "float32", memoryview(array("I", [half << 16 for half in halves]).tobytes())
    return dtype, _cells(data, 8 if dtype == "int64" else 4)
