"""What one sampling call asks for: its arguments as one value, and as the message to the engine."""

from __future__ import annotations

import copy
import itertools
import weakref
from collections.abc import Callable, Sequence
from operator import attrgetter, is_
from typing import Any, ClassVar

import msgspec

from tinker_client.connection.sendable import checked_message
from tinker_client.types import ModelInput, SamplingParams, TensorData
from tinker_client.types._checks import as_int
from tinker_sidecar.ipc.protocol import PackedChunk, PackedDmel, PackedImage, PackedText, RequestSpec

__all__ = ["SamplingRequest", "SpecCache"]

_MOST = 2**31 - 1
_ONE_TOKEN = SamplingParams(max_tokens=1)
_params_fields = attrgetter(*SamplingParams.__struct_fields__)
_new_spec_id = itertools.count(1).__next__


class SamplingRequest(msgspec.Struct, frozen=True):
    """The arguments of `SamplingClient.sample`, which says what they mean, under the same names."""

    prompt: ModelInput
    num_samples: int
    sampling_params: SamplingParams
    include_prompt_logprobs: bool = False
    topk_prompt_logprobs: int = 0
    topk_sample_logprobs: int = 0
    target_prompt_logprobs: TensorData | None = None
    prompt_alt_tokens_k: int = 0
    prompt_logprobs_last_n: int | None = None
    record_stability_info: bool = False
    """Diagnostics that the service keeps for training on the samples. Clients of the official SDK ask for
    them; `sample` has no argument for it."""

    @classmethod
    def of_logprobs(cls, prompt: ModelInput, prompt_logprobs_last_n: int | None = None) -> SamplingRequest:
        """The request that a `compute_logprobs` call amounts to."""
        return cls(
            prompt,
            num_samples=1,
            sampling_params=_ONE_TOKEN,
            include_prompt_logprobs=True,
            prompt_logprobs_last_n=prompt_logprobs_last_n,
        )

    def to_wire(self) -> RequestSpec:
        """A new message with all this in it. Raises `TypeError` or `ValueError`, naming the argument."""
        chunks = _checked_prompt(ModelInput.coerce(self.prompt).to_wire())
        params = SamplingParams.coerce(self.sampling_params)
        spec = RequestSpec(
            id=_new_spec_id(),
            prompt_bytes=sum(map(_size, chunks)),
            prompt=chunks,
            num_samples=as_int("num_samples", self.num_samples, "an int, 1 or more", (1, _MOST)),
            params=params.to_wire(),
            prompt_logprobs=bool(self.include_prompt_logprobs),
            topk_prompt_logprobs=_count("topk_prompt_logprobs", self.topk_prompt_logprobs),
            topk_sample_logprobs=_count("topk_sample_logprobs", self.topk_sample_logprobs),
            target_prompt_logprobs=(None if (target := self._checked_target()) is None else target.to_wire()),
            prompt_alt_tokens_k=_count("prompt_alt_tokens_k", self.prompt_alt_tokens_k),
            prompt_logprobs_last_n=self._checked_last_n(),
            record_stability_info=self.record_stability_info,
        )
        return checked_message(spec)

    def _checked_last_n(self) -> int | None:
        if self.prompt_logprobs_last_n is None:
            return None
        if not self.include_prompt_logprobs:
            raise ValueError(
                "prompt_logprobs_last_n applies to prompt logprobs: set include_prompt_logprobs=True"
            )
        return as_int(
            "prompt_logprobs_last_n", self.prompt_logprobs_last_n, "a positive int or None", (1, _MOST)
        )

    def _checked_target(self) -> TensorData | None:
        if self.target_prompt_logprobs is None:
            return None
        target = TensorData.coerce(self.target_prompt_logprobs)
        if target.dtype != "int64":
            raise ValueError(
                f"target_prompt_logprobs must be an int64 tensor of token ids, got dtype {target.dtype}"
            )
        if target.shape is None or len(target.shape) != 2:
            raise ValueError(
                f"target_prompt_logprobs must have shape [len(prompt) - 1, K], got shape {target.shape}"
            )
        return target


_Packed = tuple[list[Any], tuple[object, ...], RequestSpec]


class SpecCache:
    """Makes the message for a request, or gives the last one again if that was for an equal request.

    The last one of this cache, or of the one that was asked last. A group's samples have equal requests, and
    a sweep asks the same of one sampler after the other; to check, pack and send one costs more than all
    else of a call.
    """

    _asked_last: ClassVar[Callable[[], SpecCache | None]] = lambda: None
    """Gives that, unless it is gone."""

    def __init__(self) -> None:
        self._last: _Packed | None = None
        self._itself = weakref.ref(self)

    def spec_of(self, request: SamplingRequest) -> RequestSpec:
        """Raises `TypeError` or `ValueError`, naming the argument."""
        # The rest is compared by identity: an equal value of another type, as True is to 1, may be refused.
        contents, rest = _contents(request), _rest(request)
        asked_last, SpecCache._asked_last = SpecCache._asked_last(), self._itself
        for cache in (self, None if asked_last is self else asked_last):
            if cache is not None and (last := cache._last) is not None:
                contents_before, rest_before, spec = last
                if all(map(is_, rest, rest_before)) and _are_equal(contents, contents_before):
                    self._last = last
                    return spec
        spec = request.to_wire()
        if request.target_prompt_logprobs is None:  # A tensor may be changed in place: it is read each time.
            self._last = [copy.copy(part) for part in contents], rest, spec
        else:
            self._last = None
        return spec


def _contents(request: SamplingRequest) -> list[Any]:
    """What prompt and parameters are made of, be they ours or the official SDK's.

    A list or another sequence in there is the caller's, who may change it. All else is immutable.
    """
    prompt, params = request.prompt, request.sampling_params
    contents: list[Any] = [type(prompt), type(params)]
    if isinstance(prompt, ModelInput):
        contents.append(prompt.chunks)
    else:
        chunks = getattr(prompt, "chunks", None)
        contents += map(_content, chunks if isinstance(chunks, list | tuple) else ())
    if isinstance(params, SamplingParams):
        contents += params, params.stop
    else:
        try:
            fields = _params_fields(params)
            contents += *fields, *map(type, fields)
        except AttributeError:
            contents.append(params)  # It is something else, which `to_wire` refuses.
    return contents


def _content(chunk: Any) -> Any:
    """What is in a chunk of the official SDK's; if that could be changed unseen, what equals nothing else."""
    tokens = getattr(chunk, "tokens", None)
    if isinstance(tokens, Sequence):
        return tokens
    return object() if isinstance(chunk, dict) or tokens is not None else chunk


def _are_equal(some: list[Any], others: list[Any]) -> bool:
    try:
        return some == others
    except ValueError:  # Arrays, which an official object may hold, do not compare to a bool.
        return False


def _rest(request: SamplingRequest) -> tuple[object, ...]:
    values: tuple[object, ...] = msgspec.structs.astuple(request)
    return values[1], *values[3:]


def _checked_prompt(chunks: list[PackedChunk]) -> list[PackedChunk]:
    for chunk in chunks:
        if not isinstance(chunk, PackedText) or chunk.tokens:
            return chunks
    raise ValueError("prompt is empty: it needs at least one token")


def _count(name: str, value: int) -> int:
    return as_int(name, value, "an int, 0 or more", (0, _MOST))


def _size(chunk: PackedChunk) -> int:
    if isinstance(chunk, PackedText):
        return chunk.tokens.nbytes
    if isinstance(chunk, PackedImage):
        return chunk.data.nbytes
    return chunk.dmel.nbytes if isinstance(chunk, PackedDmel) else 0
