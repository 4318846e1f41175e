"""One completion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from tinker_client.types._cells import (
    float32_array,
    float32_list,
    int32_array,
    int32_list,
    pack_floats,
    pack_token_ids,
)
from tinker_client.types._checks import short, wrong_type, wrong_value
from tinker_client.types._values import View, lazy
from tinker_client.types.topk_logprobs import TopkLogprobs, TopkRows, pack_topk, unpack_topk, unpack_topk_np
from tinker_sidecar.ipc import protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

__all__ = ["SampledSequence", "StopReason", "exact_lists", "one_of", "view_sequence"]

StopReason: TypeAlias = Literal["length", "stop"]
"""Why sampling stopped: at `max_tokens`, or at a stop string, a stop token or the end of the sequence."""

_set = object.__setattr__
_decode = msgspec.msgpack.Decoder(protocol.PackedSequence).decode


class SampledSequence(View):
    """One completion. Lists and arrays are decoded on first use, and kept.

    The arrays are copies that may be written to; writing to them, or to the lists, does not change
    what the sequence compares and pickles as.

    Parameters
    ----------
    stop_reason
        "stop" or "length".
    sequence_id
        The server's name for the sequence; empty where it gives none.
    tokens_np
        The generated token ids: int32, shape (num_tokens,). Each array may be given as a list instead, by
        the argument without `_np`; to give both is a `TypeError`.
    logprobs_np
        The logprob of each token in nats: float32, shape (num_tokens,).
    topk_logprobs_np
        The likeliest tokens at each position: matrices of shape (num_tokens, k).
    tokens
        The generated token ids, as a list.
    logprobs
        The logprob of each token in nats, as a list.
    topk_logprobs
        Per token a list of the likeliest (token id, logprob) pairs, or None.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong type or shape.
    """

    __slots__ = ("_exact", "_wire")
    _wire: protocol.PackedSequence
    _exact: dict[str, Any] | None
    """Lists given to the constructor whose floats may not fit float32."""

    def __init__(
        self,
        stop_reason: StopReason,
        sequence_id: str = "",
        tokens_np: npt.NDArray[np.int32] | None = None,
        logprobs_np: npt.NDArray[np.float32] | None = None,
        topk_logprobs_np: TopkLogprobs | None = None,
        *,
        tokens: Sequence[int] | None = None,
        logprobs: Sequence[float] | None = None,
        topk_logprobs: Sequence[Sequence[tuple[int, float]] | None] | None = None,
    ) -> None:
        if stop_reason not in ("length", "stop"):
            raise wrong_value("stop_reason", "'length' or 'stop'", stop_reason)
        if not isinstance(sequence_id, str):
            raise wrong_type("sequence_id", "a string", sequence_id)
        all_tokens = one_of("tokens", tokens, tokens_np)
        all_logprobs = one_of("logprobs", logprobs, logprobs_np)
        topk = one_of("topk_logprobs", topk_logprobs, topk_logprobs_np)
        wire = protocol.PackedSequence(
            stop_reason=stop_reason,
            sequence_id=sequence_id,
            tokens=memoryview(pack_token_ids("tokens", () if all_tokens is None else all_tokens)),
            logprobs=None if all_logprobs is None else memoryview(pack_floats("logprobs", all_logprobs)),
            topk_logprobs=None if topk is None else pack_topk("topk_logprobs", topk),
        )
        exact = exact_lists(logprobs=logprobs, topk_logprobs=topk_logprobs)
        _set(self, "_wire", wire)
        _set(self, "_exact", exact)
        self.__dict__.update(exact)

    @property
    def stop_reason(self) -> StopReason:
        """Why sampling stopped: "stop" or "length", as `StopReason` explains."""
        return self._wire.stop_reason

    @property
    def sequence_id(self) -> str:
        """The server's name for the sequence; empty where it gives none."""
        return self._wire.sequence_id

    @lazy
    def tokens(self) -> list[int]:
        """The generated token ids."""
        return int32_list(self._wire.tokens)

    @lazy
    def tokens_np(self) -> npt.NDArray[np.int32]:
        """The generated token ids: int32, shape (num_tokens,)."""
        return int32_array(self._wire.tokens)

    @lazy
    def logprobs(self) -> list[float] | None:
        """The logprob of each token in nats, or None if the server sent none."""
        return None if self._wire.logprobs is None else float32_list(self._wire.logprobs)

    @lazy
    def logprobs_np(self) -> npt.NDArray[np.float32] | None:
        """The logprob of each token in nats: float32, shape (num_tokens,); or None."""
        return None if self._wire.logprobs is None else float32_array(self._wire.logprobs)

    @lazy
    def topk_logprobs(self) -> TopkRows | None:
        """Per token the likeliest (token id, logprob) pairs, likeliest first; or None if not asked for."""
        return unpack_topk(self._wire.topk_logprobs)

    @lazy
    def topk_logprobs_np(self) -> TopkLogprobs | None:
        """The same as two matrices of shape (num_tokens, k), or None if not asked for."""
        return unpack_topk_np(self._wire.topk_logprobs)

    def to_wire(self) -> protocol.PackedSequence:
        """As the engine sends it."""
        return self._wire

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SampledSequence):
            return NotImplemented
        return self._wire == other._wire

    def __hash__(self) -> int:
        return hash((self.sequence_id, self._wire.tokens.tobytes()))

    def __repr__(self) -> str:
        tokens = self._wire.tokens.cast("i")
        return (
            f"SampledSequence(stop_reason={self.stop_reason!r}, sequence_id={self.sequence_id!r}, "
            f"tokens={short(tokens, len(tokens))})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (msgspec.msgpack.encode(self._wire), self._exact)


def view_sequence(wire: protocol.PackedSequence, exact: dict[str, Any] | None = None) -> SampledSequence:
    """A view over `wire`; `exact` has values that it could not hold as they were given."""
    sequence = SampledSequence.__new__(SampledSequence)
    _set(sequence, "_wire", wire)
    _set(sequence, "_exact", exact)
    if exact:
        sequence.__dict__.update(exact)
    return sequence


def _unpickle(encoded: bytes, exact: dict[str, Any] | None) -> SampledSequence:
    return view_sequence(_decode(encoded), exact)


def one_of(name: str, listed: Any, array: Any) -> Any:
    """Which of the two ways to give something was used: a list or an array."""
    if listed is not None and array is not None:
        raise TypeError(f"give {name} or {name}_np, not both")
    return array if listed is None else listed


def exact_lists(**given: Any) -> dict[str, Any]:
    """What was given as lists, to be given back digit for digit: on the wire floats are float32."""
    return {name: list(values) for name, values in given.items() if values is not None}
