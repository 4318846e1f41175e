"""Official results made of ours, for whatever fields the installed version's classes have.

Since 0.20 they hold arrays and make lists of them when asked; before, lists. Neither is looked at token by
token here.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeAlias

from tinker_client.types import SampledSequence, SampleResponse

__all__ = ["MisfitError", "field_names", "response_builder"]

Convert: TypeAlias = Callable[[Any], Any]


class MisfitError(Exception):
    """The installed official SDK is none that this package knows how to speak to; the message says why."""


def response_builder(response: Any, sequence: Any) -> Convert:
    """What makes a `response`, of `sequence`s, of a `tinker_client.types.SampleResponse`."""
    parts = _part_classes(response) | _part_classes(sequence)
    converters: dict[str, Convert] = {
        name: _topk(parts[name]) for name in ("topk_prompt_logprobs_np", "topk_logprobs_np") if name in parts
    }
    if "target_prompt_logprobs" in parts:
        tensor = converters["target_prompt_logprobs"] = _tensor(parts["target_prompt_logprobs"])
        if "prompt_alt_tokens" in parts:
            converters["prompt_alt_tokens"] = _alt_tokens(parts["prompt_alt_tokens"], tensor)
    build = _builder(sequence, SampledSequence, converters)
    converters["sequences"] = lambda sequences: [build(sequence) for sequence in sequences]
    return _builder(response, SampleResponse, converters)


def field_names(cls: Any) -> dict[str, bool]:
    """The fields of a dataclass or a pydantic model, and whether they must be given."""
    if is_dataclass(cls):
        return {field.name: field.default is field.default_factory is MISSING for field in fields(cls)}
    return {name: field.is_required() for name, field in cls.model_fields.items()}


def _part_classes(cls: Any) -> dict[str, Any]:
    """The class in each field that is `Optional[class]`."""
    return {
        name: classes[0]
        for name, hint in _hints(cls).items()
        if (classes := [part for part in typing.get_args(hint) if isinstance(part, type)])
    }


def _hints(cls: Any) -> dict[str, Any]:
    if is_dataclass(cls):
        # The SDK says that its classes are of another module than theirs, where names mean something else.
        return typing.get_type_hints(cls, vars(cls)["__init__"].__globals__)
    return {name: field.annotation for name, field in cls.model_fields.items()}


def _builder(official: Any, ours: type, converters: dict[str, Convert]) -> Convert:
    """What makes an `official` of an `ours`: of the fields that both have."""
    required = field_names(official)
    shared = [name for name in required if hasattr(ours, name)]
    if unknown := [name for name, needed in required.items() if needed and name not in shared]:
        raise MisfitError(f"{official.__name__} wants what is not known here: {', '.join(unknown)}")
    # pydantic would look at every token.
    make = getattr(official, "model_construct", official)
    plain = [name for name in shared if name not in converters]
    converted = [(name, converters[name]) for name in shared if name in converters]

    def build(source: Any) -> Any:
        values = {name: getattr(source, name) for name in plain}
        for name, convert in converted:
            if (value := getattr(source, name)) is not None:
                values[name] = convert(value)
        return make(**values)

    return build


def _topk(cls: Any) -> Convert:
    return lambda topk: cls(token_ids=topk.token_ids, logprobs=topk.logprobs)


def _tensor(cls: Any) -> Convert:
    def convert(tensor: Any) -> Any:
        sparse = tensor.sparse_crow_indices is not None
        return cls(
            data=tensor.data if sparse else tensor.to_numpy(),
            dtype=tensor.dtype,
            shape=tensor.shape,
            sparse_crow_indices=tensor.sparse_crow_indices,
            sparse_col_indices=tensor.sparse_col_indices,
        )

    return convert


def _alt_tokens(cls: Any, tensor: Convert) -> Convert:
    return lambda alt: cls(tokens=tensor(alt.tokens), logprobs=tensor(alt.logprobs))
