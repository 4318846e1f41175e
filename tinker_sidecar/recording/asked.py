"""What a request asks for, in the one form that recordings know it by.

Two programs may write the same request differently: a stop string alone or in a list, a default or nothing, a
prompt in one piece or in several. Here they are one. Which session and which number a request has, and who
sends it, is left out.
"""

from __future__ import annotations

import hashlib
from array import array
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

__all__ = ["Asked", "SampleBody", "asked_in", "decode_body"]

_NO_TOKEN = array("i", [-1]).tobytes()
"""In a prompt: a hash of something else than text follows."""


class Asked(NamedTuple):
    """The content of a request."""

    prompt: bytes
    """int32, one a token. Of an image or sound there is -1 and a hash."""
    parameters: bytes
    """The JSON of all else, without what has its default."""

    @property
    def key(self) -> bytes:
        """A hash of both: equal requests have the same."""
        length = len(self.prompt).to_bytes(8, "little")
        return hashlib.sha256(length + self.prompt + self.parameters).digest()[:16]


class _Chunk(msgspec.Struct):
    type: str
    tokens: list[int] = []


class _Prompt(msgspec.Struct):
    chunks: list[msgspec.Raw]


class _SamplingParams(msgspec.Struct):
    max_tokens: int | None = None
    seed: int | None = None
    stop: str | list[str | int] | None = None
    temperature: float = 1.0
    top_k: int = -1
    top_p: float = 1.0


class _Targets(msgspec.Struct):
    data: list[int | float]
    shape: list[int] | None = None
    sparse_crow_indices: list[int] | None = None
    sparse_col_indices: list[int] | None = None


class SampleBody(msgspec.Struct):
    """The body of an `asample`, as far as it bears on the result. Other fields are passed over."""

    prompt: msgspec.Raw
    sampling_params: _SamplingParams
    num_samples: int = 1
    prompt_logprobs: bool | None = None
    prompt_logprobs_last_n: int | None = None
    topk_prompt_logprobs: int | None = None
    topk_sample_logprobs: int | None = None
    target_prompt_logprobs: _Targets | None = None
    prompt_alt_tokens_k: int | None = None


decode_body = msgspec.json.Decoder(SampleBody).decode
_decode_prompt = msgspec.json.Decoder(_Prompt).decode
_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


@lru_cache(maxsize=8)  # A group's requests have one body but for their numbers.
def asked_in(body: bytes) -> Asked:
    """What the JSON `body` of an `asample` asks for.

    Raises `ValueError` or `OverflowError` for one that is malformed.
    """
    try:
        request = decode_body(body)
        return Asked(_prompt(bytes(request.prompt)), _encode(_parameters(request)))
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from None


@lru_cache(maxsize=8)  # Requests for one prompt may differ in all else.
def _prompt(encoded: bytes) -> bytes:
    return b"".join(map(_chunk, _decode_prompt(encoded).chunks))


def _chunk(encoded: msgspec.Raw) -> bytes:
    chunk = _decode_chunk(encoded)
    if chunk.type == "encoded_text":
        return array("i", chunk.tokens).tobytes()
    return _NO_TOKEN + hashlib.sha256(_encode_sorted(msgspec.json.decode(encoded))).digest()


def _parameters(request: SampleBody) -> dict[str, Any]:
    """What is not the default, in a fixed order: a field that comes later changes no key of today."""
    params = request.sampling_params
    stop = [params.stop] if isinstance(params.stop, str) else params.stop
    targets = request.target_prompt_logprobs
    values: dict[str, tuple[Any, Any]] = {
        "num_samples": (request.num_samples, 1),
        "max_tokens": (params.max_tokens, None),
        "temperature": (params.temperature, 1.0),
        "top_k": (params.top_k, -1),
        "top_p": (params.top_p, 1.0),
        "seed": (params.seed, None),
        "stop": (stop or None, None),
        "prompt_logprobs": (bool(request.prompt_logprobs), False),
        "prompt_logprobs_last_n": (request.prompt_logprobs_last_n, None),
        "topk_prompt_logprobs": (request.topk_prompt_logprobs or 0, 0),
        "topk_sample_logprobs": (request.topk_sample_logprobs or 0, 0),
        "target_prompt_logprobs": (targets and hashlib.sha256(_encode(targets)).hexdigest(), None),
        "prompt_alt_tokens_k": (request.prompt_alt_tokens_k or 0, 0),
    }
    return {name: value for name, (value, default) in values.items() if value != default}
