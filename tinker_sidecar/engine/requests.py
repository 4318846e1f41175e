"""Requests, from our messages to the JSON that `asample` takes."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from tinker_sidecar.ipc.protocol import (
    PackedChunk,
    PackedImage,
    PackedImagePointer,
    PackedTensor,
    PackedText,
    RequestSpec,
)

__all__ = ["EncodedSpec", "longest_answer", "prompt_length"]

_BYTES_A_NUMBER = 32  # A float can take 26 in JSON, and there are commas.
_ALL_ELSE = 1 << 20

_encode = msgspec.json.Encoder().encode


class EncodedSpec:
    """What a group's requests have in common: their spec and, made for the first of them, the JSON of it."""

    __slots__ = ("_fields", "prompt_tokens", "spec")

    def __init__(self, spec: RequestSpec) -> None:
        self.spec = spec
        self._fields = b""
        self.prompt_tokens = prompt_length(spec.prompt) or 0
        """0 where only the server knows."""

    def body(self, sampling_session_id: str, seq_id: int) -> bytes:
        """The body of an `asample`."""
        return b'{"sampling_session_id":%b,"seq_id":%d,%b' % (
            _encode(sampling_session_id),
            seq_id,
            self._encoded(),
        )

    def json(self) -> bytes:
        """The spec alone, as it is in each body."""
        return b"{" + self._encoded()

    def _encoded(self) -> bytes:
        if not self._fields:
            self._fields = _encode_spec(self.spec)[1:]
        return self._fields


def _encode_spec(spec: RequestSpec) -> bytes:
    """The JSON of all that `spec` says. A field newer than the oldest servers is sent only when used."""
    params = spec.params
    body: dict[str, Any] = {
        "num_samples": spec.num_samples,
        "prompt": {"chunks": [_chunk(chunk) for chunk in spec.prompt]},
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
        "prompt_logprobs": spec.prompt_logprobs,
        "topk_prompt_logprobs": spec.topk_prompt_logprobs,
        "type": "sample",
    }
    if spec.topk_sample_logprobs:
        body["topk_sample_logprobs"] = spec.topk_sample_logprobs
    if spec.target_prompt_logprobs is not None:
        body["target_prompt_logprobs"] = _tensor(spec.target_prompt_logprobs)
    if spec.prompt_alt_tokens_k:
        body["prompt_alt_tokens_k"] = spec.prompt_alt_tokens_k
    if spec.prompt_logprobs_last_n is not None:
        body["prompt_logprobs_last_n"] = spec.prompt_logprobs_last_n
    if spec.record_stability_info:
        body["record_stability_info"] = True
    return _encode(body)


def prompt_length(prompt: list[PackedChunk]) -> int | None:
    """Tokens in `prompt`, or None when an image's length is the server's to say."""
    length = 0
    for chunk in prompt:
        if isinstance(chunk, PackedText):
            length += len(chunk.tokens) // 4
        elif isinstance(chunk, (PackedImage, PackedImagePointer)) and chunk.expected_tokens is not None:
            length += chunk.expected_tokens
        else:
            return None
    return length


def longest_answer(spec: RequestSpec) -> int | None:
    """Bytes that a result can have; None when that is the server's to say."""
    prompt_tokens, max_tokens = prompt_length(spec.prompt), spec.params.max_tokens
    if prompt_tokens is None or max_tokens is None:
        return None
    numbers = (
        prompt_tokens * (1 + 2 * spec.topk_prompt_logprobs + 2 * spec.prompt_alt_tokens_k)
        + spec.num_samples * max_tokens * (2 + 2 * spec.topk_sample_logprobs)
        + (len(spec.target_prompt_logprobs.data) if spec.target_prompt_logprobs is not None else 0)
    )
    return _BYTES_A_NUMBER * numbers + _ALL_ELSE


def _chunk(chunk: PackedChunk) -> dict[str, Any]:
    if isinstance(chunk, PackedText):
        return {"type": "encoded_text", "tokens": chunk.tokens.cast("i").tolist()}
    if isinstance(chunk, PackedImage):
        fields: dict[str, Any] = {
            "type": "image",
            "data": base64.b64encode(chunk.data).decode(),
            "format": chunk.format,
        }
    elif isinstance(chunk, PackedImagePointer):
        fields = {"type": "image_asset_pointer", "location": chunk.location, "format": chunk.format}
    else:
        return {"type": "dmel", "dmel": base64.b64encode(chunk.dmel).decode()}
    if chunk.expected_tokens is not None:
        fields["expected_tokens"] = chunk.expected_tokens
    return fields


def _tensor(tensor: PackedTensor) -> dict[str, Any]:
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
