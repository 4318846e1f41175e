"""The checks on a sampling call's arguments, and what the engine is asked for with them."""

from __future__ import annotations

import copy
import itertools
from operator import is_
from typing import Any, TypeVar

import msgspec

from tinker_client.types import ModelInput, SamplingParams, TensorData
from tinker_client.types._checks import as_int
from tinker_sidecar.ipc.protocol import (
    MAX_FRAME,
    PackedChunk,
    PackedDmel,
    PackedImage,
    PackedText,
    RequestSpec,
)

__all__ = ["Asks", "checked_message", "logprobs_arguments"]

_MOST = 2**31 - 1
_ONE_TOKEN = SamplingParams(max_tokens=1)
_numbers = itertools.count(1)
_encode = msgspec.msgpack.Encoder().encode
_Message = TypeVar("_Message", bound=msgspec.Struct)


def logprobs_arguments(prompt: Any, prompt_logprobs_last_n: Any = None) -> tuple[Any, ...]:
    """The arguments of the `sample` call that a `compute_logprobs` call amounts to, in order."""
    return (prompt, 1, _ONE_TOKEN, True, 0, 0, None, 0, prompt_logprobs_last_n)


def checked_message(message: _Message) -> _Message:
    """`message`, if it can be sent to a sidecar, now or later; a `ValueError` names the field that can't."""
    try:
        size = len(_encode(message))
    except (UnicodeEncodeError, OverflowError) as error:
        field = next(name for name in message.__struct_fields__ if not _is_encodable(getattr(message, name)))
        raise ValueError(f"{field} holds what cannot be sent: {error}") from None
    if size > MAX_FRAME:
        raise ValueError(f"a request of {size} bytes is too large: at most {MAX_FRAME} can be sent")
    return message


def _is_encodable(value: object) -> bool:
    try:
        _encode(value)
    except (UnicodeEncodeError, OverflowError):
        return False
    return True


class Asks:
    """Makes an `RequestSpec` of a call's arguments, or gives the last one if they are those of the last call.

    A group's samples have the same, and checking and packing them is most of what submitting one costs.
    """

    def __init__(self) -> None:
        self._last: tuple[tuple[Any, ...], tuple[Any, Any], RequestSpec] | None = None

    def ask(self, prompt: Any, num_samples: Any, sampling_params: Any, *options: Any) -> RequestSpec:
        """Raises `TypeError` or `ValueError`, naming the argument."""
        prompt, sampling_params = ModelInput.coerce(prompt), SamplingParams.coerce(sampling_params)
        arguments = (prompt, num_samples, sampling_params, *options)
        last = self._last
        if (
            last is not None
            and len(arguments) == len(last[0])
            and all(map(is_, arguments, last[0]))
            and (prompt.chunks, sampling_params.stop) == last[1]
        ):
            return last[2]
        ask = _ask(prompt, num_samples, sampling_params, *options)
        # The lists are the caller's to change, and so is a tensor: it is looked at each time.
        lists = (copy.copy(prompt.chunks), copy.copy(sampling_params.stop))
        self._last = None if ask.target_prompt_logprobs is not None else (arguments, lists, ask)
        return ask


def _ask(
    prompt: ModelInput,
    num_samples: int,
    params: SamplingParams,
    include_prompt_logprobs: bool,
    topk_prompt_logprobs: int,
    topk_sample_logprobs: int,
    target_prompt_logprobs: TensorData | None,
    prompt_alt_tokens_k: int,
    prompt_logprobs_last_n: int | None,
    record_stability_info: bool = False,
) -> RequestSpec:
    chunks = prompt.to_wire()
    for chunk in chunks:
        if not isinstance(chunk, PackedText) or chunk.tokens:
            break
    else:
        raise ValueError("prompt is empty: it needs at least one token")
    target = None
    if target_prompt_logprobs is not None:
        target = _checked_target(TensorData.coerce(target_prompt_logprobs)).to_wire()
    if prompt_logprobs_last_n is not None:
        as_int("prompt_logprobs_last_n", prompt_logprobs_last_n, "a positive int or None", (1, _MOST))
        if not include_prompt_logprobs:
            raise ValueError(
                "prompt_logprobs_last_n applies to prompt logprobs: set include_prompt_logprobs=True"
            )
    ask = RequestSpec(
        next(_numbers),
        sum(map(_size, chunks)),
        chunks,
        as_int("num_samples", num_samples, "an int, 1 or more", (1, _MOST)),
        params.to_wire(),
        bool(include_prompt_logprobs),
        as_int("topk_prompt_logprobs", topk_prompt_logprobs, "an int, 0 or more", (0, _MOST)),
        as_int("topk_sample_logprobs", topk_sample_logprobs, "an int, 0 or more", (0, _MOST)),
        target,
        as_int("prompt_alt_tokens_k", prompt_alt_tokens_k, "an int, 0 or more", (0, _MOST)),
        prompt_logprobs_last_n,
        record_stability_info,
    )
    return checked_message(ask)


def _size(chunk: PackedChunk) -> int:
    if isinstance(chunk, PackedText):
        return chunk.tokens.nbytes
    if isinstance(chunk, PackedImage):
        return chunk.data.nbytes
    return chunk.dmel.nbytes if isinstance(chunk, PackedDmel) else 0


def _checked_target(target: TensorData) -> TensorData:
    if target.dtype != "int64":
        raise ValueError(
            f"target_prompt_logprobs must be an int64 tensor of token ids, got dtype {target.dtype}"
        )
    if target.shape is None or len(target.shape) != 2:
        raise ValueError(
            f"target_prompt_logprobs must have shape [len(prompt) - 1, K], got shape {target.shape}"
        )
    return target
