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
    return engine
