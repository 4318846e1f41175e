"""An engine of the user's own, named as `package.module:Class`."""

from __future__ import annotations

import importlib
import os
import sys
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING

from tinker_sidecar.local_server.engines import UnavailableEngineError

if TYPE_CHECKING:
    from tinker_sidecar.local_server.engines import GenerationEngine

__all__ = ["load_engine"]

_ATTRIBUTES = {"base_model": str, "vocab_size": int, "max_context_length": int}
_METHODS = ("generate", "close")


def load_engine(name: str) -> GenerationEngine:
    """What calling `name` without arguments makes: a class, or a function.

    The module may lie in the folder that the command is run in. Raises `UnavailableEngineError`.
    """
    module_name, _, attribute = name.partition(":")
    if not (module_name and attribute):
        raise UnavailableEngineError(f"{name!r} is not of the form package.module:Class")
    sys.path.insert(0, os.getcwd())  # noqa: PTH109  # As `python -m` does.
    try:
        engine: GenerationEngine = getattr(importlib.import_module(module_name), attribute)()
    except Exception as error:  # It runs the user's code.
        raise UnavailableEngineError(
            f"cannot make the engine {name}: {type(error).__name__}: {error}"
        ) from error
    for attribute, kind in _ATTRIBUTES.items():
        if not isinstance(value := getattr(engine, attribute, None), kind):
            raise UnavailableEngineError(
                f"the engine {name} must have a {attribute} ({kind.__name__}), not {value!r}"
            )
    for method in _METHODS:
        if not iscoroutinefunction(getattr(engine, method, None)):
            raise UnavailableEngineError(f"the engine {name} must have a method `async def {method}`")
    return engine
