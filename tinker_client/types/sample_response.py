"""What a sampling request gave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tinker_client.errors import APIResponseValidationError
from tinker_client.types._cells import count_cells, float32_array, float32_list, pack_floats
from tinker_client.types._checks import INT64, as_int, wrong_type
from tinker_client.types._values import View, lazy
from tinker_client.types.prompt_alt_tokens import PromptAltTokens
from tinker_client.types.sampled_sequence import SampledSequence, exact_lists, one_of, view_sequence
from tinker_client.types.tensor_data import TensorData
from tinker_client.types.topk_logprobs import (
    TopkLogprobs,
    TopkRows,
    check_topk,
    pack_topk,
    unpack_topk,
    unpack_topk_np,
)
from tinker_sidecar.ipc import protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

__all__ = ["SampleResponse", "logprobs_or_none", "unpack_result"]

_set = object.__setattr__
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(protocol.SampleResult).decode


class SampleResponse(View):
    """What a sampling request gave. It is decoded on first use, in the thread that asks.

    The lists and arrays are kept once decoded. The arrays are copies that may be written to; writing
    to them, or to the lists, does not change what the response compares and pickles as.

    Parameters
    ----------
    sequences
        The completions.
    prompt_logprobs_np
        One logprob per prompt token in nats: float32, shape (prompt_length,), NaN where none was computed.
        Each array may be given as a list instead, by the argument without `_np`; to give both is a
        `TypeError`.
    topk_prompt_logprobs_np
        The likeliest tokens at each prompt position: matrices of shape (prompt_length, k).
    prompt_logprobs
        One logprob per prompt token in nats, as a list with None where none was computed.
    topk_prompt_logprobs
        Per prompt token a list of the likeliest (token id, logprob) pairs, or None.
    target_prompt_logprobs
        The logprobs of the ids that were asked for.
    prompt_cache_hit_tokens
        How many tokens of the prompt were billed as found in the prefix cache; once for all samples.
    prompt_alt_tokens
        Draws in place of the prompt's tokens.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong type or shape.
    APIResponseValidationError
        On first use, when the result is malformed; the message says where.
    """

    __slots__ = ("_exact", "_payload")
    _payload: bytes | memoryview
    _exact: dict[str, Any] | None

    def __init__(
        self,
        sequences: Sequence[SampledSequence],
        prompt_logprobs_np: npt.NDArray[np.float32] | None = None,
        topk_prompt_logprobs_np: TopkLogprobs | None = None,
        target_prompt_logprobs: TensorData | None = None,
        prompt_cache_hit_tokens: int = 0,
        prompt_alt_tokens: PromptAltTokens | None = None,
        *,
        prompt_logprobs: Sequence[float | None] | None = None,
        topk_prompt_logprobs: Sequence[Sequence[tuple[int, float]] | None] | None = None,
    ) -> None:
        for index, sequence in enumerate(sequences):
            if not isinstance(sequence, SampledSequence):
                raise wrong_type(f"sequences[{index}]", "a SampledSequence", sequence)
        logprobs = one_of("prompt_logprobs", prompt_logprobs, prompt_logprobs_np)
        topk = one_of("topk_prompt_logprobs", topk_prompt_logprobs, topk_prompt_logprobs_np)
        target, alt = target_prompt_logprobs, prompt_alt_tokens
        if alt is not None and not isinstance(alt, PromptAltTokens):
            raise wrong_type("prompt_alt_tokens", "a PromptAltTokens", alt)
        result = protocol.SampleResult(
            sequences=[sequence.to_wire() for sequence in sequences],
            prompt_logprobs=None
            if logprobs is None
            else memoryview(pack_floats("prompt_logprobs", logprobs)),
            topk_prompt_logprobs=None if topk is None else pack_topk("topk_prompt_logprobs", topk),
            prompt_cache_hit_tokens=as_int(
                "prompt_cache_hit_tokens", prompt_cache_hit_tokens, "an int, 0 or more", (0, INT64[1])
            ),
            target_prompt_logprobs=(
                None if target is None else TensorData.coerce(target, "target_prompt_logprobs").to_wire()
            ),
            prompt_alt_tokens=None if alt is None else (alt.tokens.to_wire(), alt.logprobs.to_wire()),
        )
        exact = exact_lists(
            sequences=sequences, prompt_logprobs=prompt_logprobs, topk_prompt_logprobs=topk_prompt_logprobs
        )
        _set(self, "_payload", _encode(result))
        _set(self, "_exact", exact)
        self.__dict__.update(exact)

    @classmethod
    def from_wire(cls, payload: bytes | memoryview) -> SampleResponse:
        """A view over an encoded `protocol.SampleResult`; nothing is decoded yet."""
        response = cls.__new__(cls)
        _set(response, "_payload", payload)
        _set(response, "_exact", None)
        return response

    @lazy
    def _result(self) -> protocol.SampleResult:
        return unpack_result(self._payload)

    @lazy
    def sequences(self) -> list[SampledSequence]:
        """The completions, as many as were asked for."""
        return [view_sequence(sequence) for sequence in self._result.sequences]

    @property
    def samples(self) -> list[SampledSequence]:
        """The same list as `sequences`."""
        return self.sequences

    @lazy
    def prompt_logprobs(self) -> list[float | None] | None:
        """The logprob of each prompt token in nats, None where not computed, as for the first one.

        None in place of the list if not asked for.
        """
        logprobs = self._result.prompt_logprobs
        return None if logprobs is None else logprobs_or_none(logprobs)

    @lazy
    def prompt_logprobs_np(self) -> npt.NDArray[np.float32] | None:
        """The same as a float32 array of shape (prompt_length,), NaN where not computed; or None."""
        logprobs = self._result.prompt_logprobs
        return None if logprobs is None else float32_array(logprobs)

    @lazy
    def topk_prompt_logprobs(self) -> TopkRows | None:
        """Per prompt token the likeliest (token id, logprob) pairs, or None where not computed.

        None in place of the list if not asked for.
        """
        return unpack_topk(self._result.topk_prompt_logprobs)

    @lazy
    def topk_prompt_logprobs_np(self) -> TopkLogprobs | None:
        """The same as two matrices of shape (prompt_length, k), or None if not asked for."""
        return unpack_topk_np(self._result.topk_prompt_logprobs)

    @lazy
    def target_prompt_logprobs(self) -> TensorData | None:
        """The logprobs of the ids asked for with `target_prompt_logprobs`: float32, in the same
        shape and layout, 0.0 where the request had -1; or None if not asked for."""
        target = self._result.target_prompt_logprobs
        return None if target is None else TensorData.from_wire(target)

    @lazy
    def prompt_alt_tokens(self) -> PromptAltTokens | None:
        """The draws that `prompt_alt_tokens_k` asked for, or None."""
        if self._result.prompt_alt_tokens is None:
            return None
        tokens, logprobs = self._result.prompt_alt_tokens
        return PromptAltTokens(TensorData.from_wire(tokens), TensorData.from_wire(logprobs))

    @property
    def prompt_cache_hit_tokens(self) -> int:
        """How many tokens of the prompt were billed as found in the prefix cache; once for all samples."""
        return self._result.prompt_cache_hit_tokens

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SampleResponse):
            return NotImplemented
        return self._payload == other._payload or self._result == other._result

    def __hash__(self) -> int:
        return hash(tuple(self.sequences))

    def __repr__(self) -> str:
        try:
            tokens = [len(sequence.tokens) // 4 for sequence in self._result.sequences]
        except APIResponseValidationError:
            return f"SampleResponse(<{len(self._payload)} malformed bytes>)"
        return f"SampleResponse({len(tokens)} sequences, {sum(tokens)} tokens)"

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (bytes(self._payload), self._exact)


def logprobs_or_none(cells: memoryview) -> list[float | None]:
    """The prompt's logprobs, with None where none was computed."""
    # NaN alone differs from itself.
    return [x if x == x else None for x in float32_list(cells)]


def _unpickle(payload: bytes, exact: dict[str, Any] | None) -> SampleResponse:
    response = SampleResponse.__new__(SampleResponse)
    _set(response, "_payload", payload)
    _set(response, "_exact", exact)
    response.__dict__.update(exact or ())
    return response


def unpack_result(payload: bytes | memoryview) -> protocol.SampleResult:
    """What `payload` encodes; raises `APIResponseValidationError` if that makes no sense."""
    try:
        result = _decode(payload)
        _check(result)
    except (msgspec.DecodeError, ValueError) as error:
        raise APIResponseValidationError(f"malformed sample result: {error}") from None
    return result


def _check(result: protocol.SampleResult) -> None:
    """A ValueError that says which field holds what it must not."""
    for index, sequence in enumerate(result.sequences):
        try:
            _check_sequence(sequence)
        except ValueError as error:
            raise ValueError(f"sequences[{index}].{error}") from None
    if result.prompt_logprobs is not None:
        count_cells("prompt_logprobs", result.prompt_logprobs)
    if result.topk_prompt_logprobs is not None:
        check_topk("topk_prompt_logprobs", result.topk_prompt_logprobs)


def _check_sequence(sequence: protocol.PackedSequence) -> None:
    count_cells("tokens", sequence.tokens)
    if sequence.logprobs is not None:
        count_cells("logprobs", sequence.logprobs)
    if sequence.topk_logprobs is not None:
        check_topk("topk_logprobs", sequence.topk_logprobs)
