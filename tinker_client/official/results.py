"""Official results made of ours, for whatever fields the installed version's classes have.

Since 0.20 they hold arrays and make lists of them when asked; before, lists. Neither is looked at token by
token here. What a program does for each sample counts where many threads want the GIL, so an official
result is made straight of what came over the wire, and what was not asked for is passed over.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from tinker_client.types import SampleResponse, TensorData
from tinker_client.types._cells import float32_array, float32_list, int32_array, int32_list
from tinker_client.types.sample_response import logprobs_or_none, unpack_result
from tinker_client.types.topk_logprobs import unpack_topk, unpack_topk_np

__all__ = ["MisfitError", "field_names", "response_builder"]

Convert: TypeAlias = Callable[[Any], Any]


class MisfitError(Exception):
    """The installed official SDK is none that this package knows how to speak to; the message says why."""


class _Source(NamedTuple):
    """Where the value of a field of an official result comes from."""

    packed: str
    """The field of `protocol.SampleResult` or `protocol.PackedSequence`."""
    convert: Convert | None = None
    """What makes the value of that; None: it is the value."""


_SEQUENCE = {
    "stop_reason": _Source("stop_reason"),
    "sequence_id": _Source("sequence_id"),
    "tokens": _Source("tokens", int32_list),
    "tokens_np": _Source("tokens", int32_array),
    "logprobs": _Source("logprobs", float32_list),
    "logprobs_np": _Source("logprobs", float32_array),
    "topk_logprobs": _Source("topk_logprobs", unpack_topk),
}
_RESPONSE = {
    "prompt_logprobs": _Source("prompt_logprobs", logprobs_or_none),
    "prompt_logprobs_np": _Source("prompt_logprobs", float32_array),
    "topk_prompt_logprobs": _Source("topk_prompt_logprobs", unpack_topk),
    "prompt_cache_hit_tokens": _Source("prompt_cache_hit_tokens"),
}


def response_builder(response: Any, sequence: Any) -> Callable[[SampleResponse], Any]:
    """What makes a `response`, of `sequence`s, of a `tinker_client.types.SampleResponse`.

    That raises `APIResponseValidationError` if what the server sent is malformed.
    """
    of_sequence, of_response = dict(_SEQUENCE), dict(_RESPONSE)
    parts = _part_classes(sequence)
    if "topk_logprobs_np" in parts:
        of_sequence["topk_logprobs_np"] = _Source("topk_logprobs", _topk(parts["topk_logprobs_np"]))
    parts = _part_classes(response)
    if "topk_prompt_logprobs_np" in parts:
        topk = _topk(parts["topk_prompt_logprobs_np"])
        of_response["topk_prompt_logprobs_np"] = _Source("topk_prompt_logprobs", topk)
    if "target_prompt_logprobs" in parts:
        tensor = _tensor(parts["target_prompt_logprobs"])
        of_response["target_prompt_logprobs"] = _Source("target_prompt_logprobs", tensor)
        if "prompt_alt_tokens" in parts:
            alt_tokens = _alt_tokens(parts["prompt_alt_tokens"], tensor)
            of_response["prompt_alt_tokens"] = _Source("prompt_alt_tokens", alt_tokens)
    build_sequence = _builder(sequence, of_sequence)
    of_response["sequences"] = _Source("sequences", lambda packed: [build_sequence(it) for it in packed])
    build_response = _builder(response, of_response)
    return lambda ours: build_response(unpack_result(ours._payload))


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


def _builder(official: Any, sources: dict[str, _Source]) -> Convert:
    """What makes an `official` of a packed one: of the fields that both have."""
    names = field_names(official)
    if unknown := [name for name, needed in names.items() if needed and name not in sources]:
        raise MisfitError(f"{official.__name__} wants what is not known here: {', '.join(unknown)}")
    known = [(name, *sources[name]) for name in names if name in sources]
    blank = {name: None for name, needed in names.items() if needed}
    make: Callable[..., Any] = partial(_call, official)
    if hasattr(official, "model_construct"):
        make = partial(_call, official.model_construct)  # pydantic would look at every token.
    elif (attributes := _attributes(official, blank)) is not None:
        blank, make = attributes, partial(_with_attributes, official)

    def build(packed: Any) -> Any:
        values = blank.copy()
        for name, source, convert in known:
            if (value := getattr(packed, source)) is not None:
                values[name] = value if convert is None else convert(value)
        return make(values)

    return build


def _call(cls: Any, values: dict[str, Any]) -> Any:
    return cls(**values)


def _with_attributes(cls: Any, values: dict[str, Any]) -> Any:
    """A `cls` whose constructor is passed over: a frozen dataclass sets each field with a call of its own."""
    made = cls.__new__(cls)
    object.__setattr__(made, "__dict__", values)
    return made


def _attributes(cls: Any, needed: dict[str, None]) -> dict[str, Any] | None:
    """What a new `cls` has in its `__dict__`, if that is the values of its fields and nothing else."""
    if hasattr(cls, "__post_init__") or any(it.default_factory is not MISSING for it in fields(cls)):
        return None
    try:
        attributes = vars(cls(**needed))
    except TypeError:  # It has slots, or a constructor of its own.
        return None
    return attributes if attributes == {it.name: it.default for it in fields(cls)} | needed else None


def _topk(cls: Any) -> Convert:
    def convert(packed: Any) -> Any:
        topk = unpack_topk_np(packed)
        return None if topk is None else cls(token_ids=topk.token_ids, logprobs=topk.logprobs)

    return convert


def _tensor(cls: Any) -> Convert:
    def convert(packed: Any) -> Any:
        tensor = TensorData.from_wire(packed)
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
    def convert(packed: Any) -> Any:
        tokens, logprobs = packed
        return cls(tokens=tensor(tokens), logprobs=tensor(logprobs))

    return convert
