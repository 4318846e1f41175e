"""Requests, from our messages to the JSON that `asample` takes."""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import Any

import msgspec

from tinker_sidecar.protocol import Chunk, ImageChunk, ImagePointerChunk, Sample, Tensor, TextChunk

__all__ = ["encode_asample", "prompt_length"]

_encode = msgspec.json.Encoder().encode


def encode_asample(request: Sample, sampling_session_id: str, seq_id: int) -> bytes:
    """The JSON body of `asample`. A field newer than the oldest servers is sent only when used."""
    params = request.params
    body: dict[str, Any] = {
        "sampling_session_id": sampling_session_id,
        "seq_id": seq_id,
        "num_samples": request.num_samples,
        "prompt": {"chunks": [_chunk(chunk) for chunk in request.prompt]},
        "sampling_params": {
            name: value
            for name, value in (
                ("max_tokens", params.max_tokens),
                ("seed", params.seed),
                ("stop", params.stop),
                ("temperature", params.temperature),
                ("top_k", params.top_k),
                ("top_p", params.top_p),
            )
            if value is not None
        },
        "prompt_logprobs": request.prompt_logprobs,
        "topk_prompt_logprobs": request.topk_prompt_logprobs,
        "type": "sample",
    }
    if request.topk_sample_logprobs:
        body["topk_sample_logprobs"] = request.topk_sample_logprobs
    if request.target_prompt_logprobs is not None:
        body["target_prompt_logprobs"] = _tensor(request.target_prompt_logprobs)
    if request.prompt_alt_tokens_k:
        body["prompt_alt_tokens_k"] = request.prompt_alt_tokens_k
    if request.prompt_logprobs_last_n is not None:
        body["prompt_logprobs_last_n"] = request.prompt_logprobs_last_n
    if request.record_stability_info:
        body["record_stability_info"] = True
    return _encode(body)


def prompt_length(prompt: list[Chunk]) -> int | None:
    """Tokens in `prompt`, or None when an image's length is the server's to say."""
    length = 0
    for chunk in prompt:
        if isinstance(chunk, TextChunk):
            length += len(chunk.tokens) // 4
        elif isinstance(chunk, (ImageChunk, ImagePointerChunk)) and chunk.expected_tokens is not None:
            length += chunk.expected_tokens
        else:
            return None
    return length


def _chunk(chunk: Chunk) -> dict[str, Any]:
    if isinstance(chunk, TextChunk):
        return {"type": "encoded_text", "tokens": _token_ids(bytes(chunk.tokens))}
    if isinstance(chunk, ImageChunk):
        fields: dict[str, Any] = {
            "type": "image",
            "data": base64.b64encode(chunk.data).decode(),
            "format": chunk.format,
        }
    elif isinstance(chunk, ImagePointerChunk):
        fields = {"type": "image_asset_pointer", "location": chunk.location, "format": chunk.format}
    else:
        return {"type": "dmel", "dmel": base64.b64encode(chunk.dmel).decode()}
    if chunk.expected_tokens is not None:
        fields["expected_tokens"] = chunk.expected_tokens
    return fields


@lru_cache(maxsize=4)
def _token_ids(tokens: bytes) -> msgspec.Raw:
    """A list of ids in JSON, kept since a group's requests have the same prompt."""
    return msgspec.Raw(_encode(memoryview(tokens).cast("i").tolist()))


def _tensor(tensor: Tensor) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "data": tensor.data.cast("q" if tensor.dtype == "int64" else "f").tolist(),
        "dtype": tensor.dtype,
    }
    if tensor.shape is not None:
        fields["shape"] = tensor.shape
    if tensor.crow is not None and tensor.col is not None:
        fields["sparse_crow_indices"] = tensor.crow.cast("q").tolist()
        fields["sparse_col_indices"] = tensor.col.cast("q").tolist()
    return fields
