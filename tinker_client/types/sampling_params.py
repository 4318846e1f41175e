"""How to sample."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from tinker_client.types._checks import (
    INT64,
    TOKEN_ID,
    as_float,
    as_int,
    is_official,
    wrong_type,
    wrong_value,
)
from tinker_client.types._values import Model
from tinker_sidecar.ipc import protocol

__all__ = ["SamplingParams"]

_force = msgspec.structs.force_setattr


class SamplingParams(Model, frozen=True, kw_only=True):
    """How to sample.

    Parameters
    ----------
    max_tokens
        At most this many tokens are generated. None leaves it to the server, and some refuse that.
    seed
        The same seed gives the same samples, as far as the server can promise it.
    stop
        Where to stop: a string, strings, or token ids. None stops at the model's end-of-sequence
        tokens; an empty list at nothing, so that generation goes on until `max_tokens`.
    temperature
        Zero or more; 0 is greedy.
    top_k
        Sample among the k likeliest tokens; -1 for no limit.
    top_p
        Sample among the likeliest tokens that together have this probability, in (0, 1].

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong type, or outside what is allowed.
    """

    _ignores_other_fields = True

    max_tokens: int | None = None
    seed: int | None = None
    stop: str | Sequence[str] | Sequence[int] | None = None
    temperature: float = 1.0
    top_k: int = -1
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.max_tokens is not None:
            allowed = "a positive int or None"
            _force(self, "max_tokens", as_int("max_tokens", self.max_tokens, allowed, (1, TOKEN_ID[1])))
        if self.seed is not None:
            _force(self, "seed", as_int("seed", self.seed, "an int that fits 64 bits, or None", INT64))
        if self.stop is not None:
            _force(self, "stop", _stop(self.stop))
        _force(self, "temperature", _temperature(self.temperature))
        _force(self, "top_k", _top_k(self.top_k))
        _force(self, "top_p", _top_p(self.top_p))

    @classmethod
    def coerce(cls, value: object) -> SamplingParams:
        """`value` if it is `SamplingParams`, ours or the official SDK's; otherwise a `TypeError`."""
        if isinstance(value, SamplingParams):
            return value
        if is_official(value, "SamplingParams"):
            return cls(**{field: getattr(value, field) for field in cls.__struct_fields__})
        raise wrong_type("sampling_params", "a types.SamplingParams", value)

    def to_wire(self) -> protocol.PackedParams:
        """As the engine gets it."""
        # One string goes as a list, too, since some servers refuse a bare one.
        stop = [self.stop] if isinstance(self.stop, str) else self.stop
        return protocol.PackedParams(
            max_tokens=self.max_tokens,
            seed=self.seed,
            stop=None if stop is None else list(stop),
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
        )


def _temperature(value: object) -> float:
    allowed = "a finite number, 0 or more"
    temperature = as_float("temperature", value, allowed)
    if not 0 <= temperature < math.inf:
        raise wrong_value("temperature", allowed, value)
    return temperature


def _top_k(value: object) -> int:
    allowed = "a positive int, or -1 for no limit"
    top_k = as_int("top_k", value, allowed, (-1, TOKEN_ID[1]))
    if top_k == 0:
        raise wrong_value("top_k", allowed, value)
    return top_k


def _top_p(value: object) -> float:
    allowed = "a number in (0, 1]"
    top_p = as_float("top_p", value, allowed)
    if not 0 < top_p <= 1:
        raise wrong_value("top_p", allowed, value)
    return top_p


def _stop(stop: object) -> str | Sequence[str] | Sequence[int]:
    """`stop` as given, but a list where it was neither a string nor a tuple."""
    allowed = "a string, a list of strings, a list of token ids, or None"
    if isinstance(stop, str):
        return _stop_string("stop", stop)
    values = stop.tolist() if hasattr(stop, "tolist") else stop
    if not isinstance(values, Sequence) or isinstance(values, bytes | bytearray):
        raise wrong_type("stop", allowed, stop)
    strings = sum(isinstance(value, str) for value in values)
    if 0 < strings < len(values):
        raise wrong_type("stop", f"{allowed}: never strings and ids at once", stop)
    checked = [
        _stop_string(f"stop[{i}]", value) if strings else _stop_id(i, value) for i, value in enumerate(values)
    ]
    return tuple(checked) if isinstance(values, tuple) else checked  # type: ignore[return-value]


def _stop_string(name: str, value: str) -> str:
    if not value:
        raise wrong_value(name, "a string that is not empty", value)
    return value


def _stop_id(index: int, value: object) -> int:
    return as_int(f"stop[{index}]", value, "a string, or a token id in 0..2147483647", TOKEN_ID)
