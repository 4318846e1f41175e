"""Which requests to an official client can be made on its behalf without leaving anything out."""

from __future__ import annotations

from typing import Any

from tinker_client.official.results import field_names
from tinker_client.sampling_request import SamplingRequest
from tinker_client.types import ImageAssetPointerChunk, ImageChunk, SamplingParams

__all__ = ["PARAMETERS", "sample_request", "understood"]

PARAMETERS = tuple(name for name in SamplingRequest.__struct_fields__ if name != "record_stability_info")
"""Of `sample`, in order. Whether to record diagnostics is a property of an official client."""

_KNOWN: dict[str, frozenset[str]] = {
    "ModelInput": frozenset({"chunks"}),
    "EncodedTextChunk": frozenset({"tokens", "type"}),
    "DmelChunk": frozenset({"dmel", "type"}),
    "ImageChunk": frozenset(ImageChunk.__struct_fields__),
    "ImageAssetPointerChunk": frozenset(ImageAssetPointerChunk.__struct_fields__),
    "SamplingParams": frozenset(SamplingParams.__struct_fields__),
}
_unknown: dict[type, frozenset[str]] = {}
_without_unknown: set[type] = set()
"""Those that have none."""


def sample_request(*args: Any, **kwargs: Any) -> SamplingRequest:
    """What a call to an official `sample` asks for; a `TypeError` if it has arguments that are not known."""
    if len(args) > len(PARAMETERS) or "record_stability_info" in kwargs:
        raise TypeError(f"sample takes {', '.join(PARAMETERS)}")
    return SamplingRequest(*args, **kwargs)


def understood(request: SamplingRequest) -> bool:
    """Whether nothing is set in a request that only a newer SDK would know how to send."""
    parts = request.prompt, request.sampling_params, *getattr(request.prompt, "chunks", ())
    if _without_unknown.issuperset(map(type, parts)):
        return True
    for part in parts:
        unknown = _unknown_fields(type(part))
        if unknown and not unknown.isdisjoint(part.model_fields_set):
            return False
    return True


def _unknown_fields(cls: type) -> frozenset[str]:
    """The fields of an official class, or of a user's subclass of one, that ours do not have."""
    unknown = _unknown.get(cls)
    if unknown is None:
        names = frozenset(field_names(cls)) if hasattr(cls, "model_fields") else frozenset()
        known = next((_KNOWN[base.__name__] for base in cls.__mro__ if base.__name__ in _KNOWN), frozenset())
        unknown = _unknown[cls] = names - known
        if not unknown:
            _without_unknown.add(cls)
    return unknown
