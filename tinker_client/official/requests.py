"""Which requests to an official client can be made on its behalf without leaving anything out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tinker_client.official.results import field_names
from tinker_client.types import ImageAssetPointerChunk, ImageChunk, SamplingParams

__all__ = ["Arguments", "sample_arguments", "understood"]

Arguments = tuple[Any, ...]
"""What `SamplingClient._submit` takes after the future. Whether to record diagnostics may be left out."""

_KNOWN: dict[str, frozenset[str]] = {
    "ModelInput": frozenset({"chunks"}),
    "EncodedTextChunk": frozenset({"tokens", "type"}),
    "DmelChunk": frozenset({"dmel", "type"}),
    "ImageChunk": frozenset(ImageChunk.__struct_fields__),
    "ImageAssetPointerChunk": frozenset(ImageAssetPointerChunk.__struct_fields__),
    "SamplingParams": frozenset(SamplingParams.__struct_fields__),
}
_unknown: dict[type, frozenset[str]] = {}


def sample_arguments(
    prompt: Any,
    num_samples: Any,
    sampling_params: Any,
    include_prompt_logprobs: Any = False,
    topk_prompt_logprobs: Any = 0,
    topk_sample_logprobs: Any = 0,
    target_prompt_logprobs: Any = None,
    prompt_alt_tokens_k: Any = 0,
    prompt_logprobs_last_n: Any = None,
) -> Arguments:
    """The arguments of a `sample` call in order; a TypeError when there are others."""
    return (
        prompt,
        num_samples,
        sampling_params,
        include_prompt_logprobs,
        topk_prompt_logprobs,
        topk_sample_logprobs,
        target_prompt_logprobs,
        prompt_alt_tokens_k,
        prompt_logprobs_last_n,
    )


def understood(arguments: Arguments) -> bool:
    """Whether nothing is set in a request that only a newer SDK would know how to send."""
    for part in _parts(*arguments[:3]):
        unknown = _unknown_fields(type(part))
        if unknown and not unknown.isdisjoint(part.model_fields_set):
            return False
    return True


def _parts(prompt: Any, _: Any, sampling_params: Any) -> Iterator[Any]:
    yield prompt
    yield sampling_params
    yield from getattr(prompt, "chunks", ())


def _unknown_fields(cls: type) -> frozenset[str]:
    """The fields of an official class, or of a user's subclass of one, that ours do not have."""
    unknown = _unknown.get(cls)
    if unknown is None:
        names = frozenset(field_names(cls)) if hasattr(cls, "model_fields") else frozenset()
        known = next((_KNOWN[base.__name__] for base in cls.__mro__ if base.__name__ in _KNOWN), frozenset())
        unknown = _unknown[cls] = names - known
    return unknown
