"""An engine of the user's own, named as `package.module:Class`."""

from __future__ import annotations

import importlib
import os
import sys
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING

from tinker_sidecar.local_server.engines import GenerationResult, UnavailableEngineError

if TYPE_CHECKING:
    from tinker_sidecar.local_server.engines import GenerationEngine, GenerationRequest

__all__ = ["load_engine"]


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and bool(value.strip())


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


_ATTRIBUTES = {
    "base_model": (_is_name, "str, one line"),
    "vocab_size": (_is_count, "int, 1 or more"),
    "max_context_length": (_is_count, "int, 1 or more"),
}
_METHODS = ("generate", "close")


def load_engine(name: str) -> GenerationEngine:
    """What calling `name` without arguments makes: a class, or a function.

    The module may lie in the folder that the command is run in. Raises `UnavailableEngineError`.
    """
    module_name, _, attribute = name.partition(":")
    if not (module_name and attribute and all(map(str.isidentifier, module_name.split(".")))):
        raise UnavailableEngineError(f"{name!r} is not of the form package.module:Class")
    sys.path.insert(0, os.getcwd())  # noqa: PTH109  # As `python -m` does.
    try:
        engine: GenerationEngine = getattr(importlib.import_module(module_name), attribute)()
    except (Exception, SystemExit) as error:  # It runs the user's code.
        said = " ".join(str(error).split())
        raise UnavailableEngineError(
            f"cannot make the engine {name}: {type(error).__name__}: {said}"
        ) from error
    for attribute, (fits, what) in _ATTRIBUTES.items():
        if not fits(value := getattr(engine, attribute, None)):
            raise UnavailableEngineError(f"the engine {name} must have a {attribute} ({what}), not {value!r}")
    for method in _METHODS:
        if not iscoroutinefunction(getattr(engine, method, None)):
            raise UnavailableEngineError(f"the engine {name} must have a method `async def {method}`")
    return _Checked(engine)


class _Checked:
    """An engine of the user's, whose results are looked at before anybody has them."""

    def __init__(self, engine: GenerationEngine) -> None:
        self._engine = engine
        self.base_model, self.vocab_size = engine.base_model, engine.vocab_size
        self.max_context_length = engine.max_context_length

    async def generate(self, request: GenerationRequest) -> GenerationResult:
        """What the engine makes of it. Raises `TypeError` or `ValueError` for what no engine may return."""
        result = await self._engine.generate(request)
        if not isinstance(result, GenerationResult):
            raise TypeError(f"generate must return a GenerationResult, not {result!r}")
        if len(result.completions) != request.num_samples:
            raise ValueError(f"{len(result.completions)} completions, where {request.num_samples} are wanted")
        for it in result.completions:
            if not len(it.logprobs) == len(it.tokens) <= request.max_tokens:
                raise ValueError(
                    f"a completion of {len(it.tokens)} tokens has {len(it.logprobs)} logprobs,"
                    f" where one of up to {request.max_tokens} tokens is wanted, with a logprob for each"
                )
            if not all(0 <= token < self.vocab_size for token in it.tokens):
                raise ValueError(f"a completion has tokens that are not within 0 to {self.vocab_size - 1}")
        return result

    async def close(self) -> None:
        """Close the engine."""
        await self._engine.close()
