"""From the body of an `asample` to a `GenerationRequest`, with every limit of the model checked.

What is well-formed but not allowed is a 400 that says what it was and what is allowed.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from tinker_sidecar.local_server.engines import GenerationRequest
from tinker_sidecar.local_server.responses import HttpError
from tinker_sidecar.local_server.wire import DmelChunkBody, Prompt, TextChunkBody

if TYPE_CHECKING:
    from tinker_sidecar.local_server.model import ServedModel
    from tinker_sidecar.local_server.served_sampler import ServedSampler
    from tinker_sidecar.local_server.wire import ChunkBody, SampleRequest, SamplingParamsBody, TensorBody

__all__ = ["generation_request"]

MAX_SAMPLES = 1024
MAX_TOPK = 128

_prompt_decoder = msgspec.json.Decoder(Prompt)


def generation_request(body: SampleRequest, model: ServedModel, sampler: ServedSampler) -> GenerationRequest:
    """What `body` asks of `model`, by way of `sampler`.

    Raises
    ------
    HttpError
        400, naming the value that is out of bounds and the bounds.
    """
    prompt = _prompt_tokens(bytes(body.prompt), model)
    params = body.sampling_params
    _require(
        1 <= body.num_samples <= MAX_SAMPLES,
        f"num_samples is {body.num_samples}; 1 to {MAX_SAMPLES} are allowed",
    )
    for name in ("topk_prompt_logprobs", "topk_sample_logprobs", "prompt_alt_tokens_k"):
        value = getattr(body, name)
        _require(0 <= value <= MAX_TOPK, f"{name} is {value}; 0 to {MAX_TOPK} are allowed")
    _check_sampling_params(params)
    stop_strings, stop_tokens = _stops(params.stop)
    return GenerationRequest(
        prompt=prompt,
        num_samples=body.num_samples,
        max_tokens=_max_tokens(params.max_tokens, len(prompt), model),
        temperature=params.temperature,
        top_k=params.top_k,
        top_p=params.top_p,
        seed=params.seed,
        stop_strings=stop_strings,
        stop_tokens=stop_tokens,
        prompt_logprobs=bool(body.prompt_logprobs),
        prompt_logprobs_last_n=_last_n(body, len(prompt)),
        topk_prompt_logprobs=body.topk_prompt_logprobs,
        topk_sample_logprobs=body.topk_sample_logprobs,
        target_prompt_tokens=_target_rows(body.target_prompt_logprobs, len(prompt), model),
        prompt_alt_tokens_k=body.prompt_alt_tokens_k,
        base_model=sampler.base_model,
        model_path=sampler.weights,
        body=body,
    )


def _require(condition: bool, detail: str) -> None:
    if not condition:
        raise HttpError(400, detail)


@lru_cache(maxsize=4)
def _prompt_tokens(encoded: bytes, model: ServedModel) -> list[int]:
    """The token ids of an encoded `Prompt`; a group's requests have the same one, which is read once."""
    chunks = _decode_prompt(encoded).chunks
    if len(chunks) == 1 and isinstance(chunks[0], TextChunkBody):
        prompt = chunks[0].tokens
    else:
        prompt = [token for chunk in chunks for token in _chunk_tokens(chunk, model)]
    engine = model.engine
    _require(bool(prompt), "the prompt is empty; it needs at least one token")
    _require(
        len(prompt) < engine.max_context_length,
        f"the prompt has {len(prompt)} tokens; {engine.base_model} has a context of"
        f" {engine.max_context_length} tokens and needs room for at least one more",
    )
    _require_vocabulary(prompt, "the prompt", model)
    return prompt


def _decode_prompt(encoded: bytes) -> Prompt:
    try:
        return _prompt_decoder.decode(encoded)
    except msgspec.DecodeError as error:
        what, _, where = str(error).partition(" - at `$")
        raise HttpError(422, f"{what} - at `$.prompt{where or '`'}") from None


def _chunk_tokens(chunk: ChunkBody, model: ServedModel) -> list[int]:
    if isinstance(chunk, TextChunkBody):
        return chunk.tokens
    if model.placeholder_token is None:
        kind = chunk.__struct_config__.tag
        raise HttpError(
            400, f"{model.engine.base_model} takes text only; the prompt has a chunk of type {kind!r}"
        )
    length = 1 if isinstance(chunk, DmelChunkBody) or chunk.expected_tokens is None else chunk.expected_tokens
    _require(
        length <= model.engine.max_context_length,
        f"an image's expected_tokens is {length}; the context is {model.engine.max_context_length} tokens",
    )
    return [model.placeholder_token] * length


def _require_vocabulary(tokens: list[int], where: str, model: ServedModel) -> None:
    size = model.engine.vocab_size
    for token in (min(tokens), max(tokens)):
        _require(
            0 <= token < size,
            f"{where} has token id {token}; {model.engine.base_model} has ids 0 to {size - 1}",
        )


def _max_tokens(max_tokens: int | None, prompt_length: int, model: ServedModel) -> int:
    context = model.engine.max_context_length
    room = context - prompt_length
    if max_tokens is None:
        return room
    _require(max_tokens >= 1, f"max_tokens is {max_tokens}; at least 1 is allowed")
    _require(
        max_tokens <= room,
        f"max_tokens is {max_tokens}; a prompt of {prompt_length} tokens leaves room for {room}"
        f" in {model.engine.base_model}'s context of {context}",
    )
    return max_tokens


def _check_sampling_params(params: SamplingParamsBody) -> None:
    _require(params.temperature >= 0, f"temperature is {params.temperature}; 0 or more is allowed")
    _require(0 < params.top_p <= 1, f"top_p is {params.top_p}; more than 0 and at most 1 is allowed")
    _require(
        params.top_k == -1 or params.top_k >= 1,
        f"top_k is {params.top_k}; -1 (no limit) or at least 1 is allowed",
    )


def _stops(stop: str | list[str | int] | None) -> tuple[list[str], list[int]]:
    if stop is None:
        return [], []
    stops: list[str | int] = [stop] if isinstance(stop, str) else stop
    strings = [item for item in stops if isinstance(item, str)]
    tokens = [item for item in stops if isinstance(item, int)]
    _require(not (strings and tokens), "stop mixes strings and token ids; only one kind is allowed")
    _require("" not in strings, "stop has an empty string; a stop string needs at least one character")
    return strings, tokens


def _last_n(body: SampleRequest, prompt_length: int) -> int | None:
    last_n = body.prompt_logprobs_last_n
    if last_n is None:
        return None
    _require(bool(body.prompt_logprobs), "prompt_logprobs_last_n needs prompt_logprobs")
    _require(
        1 <= last_n < prompt_length,
        f"prompt_logprobs_last_n is {last_n};"
        f" 1 to {prompt_length - 1} are allowed for a prompt of {prompt_length} tokens",
    )
    return last_n


def _target_rows(target: TensorBody | None, prompt_length: int, model: ServedModel) -> list[list[int]] | None:
    """The token ids to score at each prompt position after the first; of a sparse tensor the listed ones."""
    if target is None:
        return None
    name = "target_prompt_logprobs"
    ids = [value for value in target.data if isinstance(value, int)]
    _require(
        target.dtype == "int64" and len(ids) == len(target.data), f"{name} must hold token ids, dtype int64"
    )
    shape = target.shape
    if shape is None or len(shape) != 2 or shape[0] != prompt_length - 1:
        raise HttpError(
            400,
            f"{name} has shape {shape};"
            f" [{prompt_length - 1}, K] is needed, a row for each prompt token after the first",
        )
    _require(any(token >= 0 for token in ids), f"{name} names no token id")
    _require_vocabulary([max(token, 0) for token in ids], name, model)
    _require(min(ids) >= -1, f"{name} has token id {min(ids)}; a token id or -1 (nothing) is allowed")
    if target.sparse_crow_indices is None and target.sparse_col_indices is None:
        return _dense_rows(ids, shape, name)
    return _sparse_rows(ids, shape, target, name)


def _dense_rows(ids: list[int], shape: list[int], name: str) -> list[list[int]]:
    rows, width = shape
    _require(
        len(ids) == rows * width, f"{name} has {len(ids)} values; its shape {shape} holds {rows * width}"
    )
    return [ids[row * width : (row + 1) * width] for row in range(rows)]


def _sparse_rows(ids: list[int], shape: list[int], target: TensorBody, name: str) -> list[list[int]]:
    rows, width = shape
    crow, col = target.sparse_crow_indices, target.sparse_col_indices
    if crow is None or col is None:
        raise HttpError(400, f"{name} is sparse: sparse_crow_indices and sparse_col_indices come together")
    bounds = list(pairwise(crow))
    _require(
        len(bounds) == rows and crow[0] == 0 and crow[-1] == len(ids) and all(a <= b for a, b in bounds),
        f"{name}: sparse_crow_indices must rise from 0 to the number of values in {rows + 1} steps",
    )
    _require(
        len(col) == len(ids) and all(0 <= column < width for column in col),
        f"{name}: sparse_col_indices must name a column from 0 to {width - 1} for each value",
    )
    return [ids[start:end] for start, end in bounds]
