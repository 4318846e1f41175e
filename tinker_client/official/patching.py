"""Having a function of the official SDK do something else, whoever holds it."""

from __future__ import annotations

import gc
import inspect
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any, cast

from tinker_client.official.results import MisfitError

__all__ = ["Patch", "is_of_the_sdk", "own_function"]


class Patch:
    """From now on, and until `undo`, `function` does what `replacing(original)` does.

    Its code is replaced, not the attribute of the class that it is. Tracing tools put wrappers around the
    SDK's methods, before and after, and put back what was there when they came: whatever order all that
    happens in, at the end of it somebody calls this very function.
    """

    def __init__(self, function: FunctionType, replacing: Callable[[Any], Any]) -> None:
        self._function = function
        self._before = function.__code__, function.__kwdefaults__
        original = _copy(function)
        template = _call_async if inspect.iscoroutinefunction(function) else _call
        self._code = template.__code__.replace(
            co_name=function.__code__.co_name, co_qualname=function.__code__.co_qualname
        )
        function.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
        # First the defaults, which the old code does not look at: other threads may be calling it.
        function.__kwdefaults__ = {**(function.__kwdefaults__ or {}), "_replacement": replacing(original)}
        try:
            function.__code__ = self._code
        except ValueError as error:
            del function.__signature__  # type: ignore[attr-defined]
            function.__kwdefaults__ = original.__kwdefaults__
            raise MisfitError(f"{function.__qualname__} cannot be replaced: {error}") from error

    @property
    def in_place(self) -> bool:
        """Whether the function still does that, and nobody has replaced its code since."""
        return self._function.__code__ is self._code

    def undo(self) -> None:
        """Give the function back the code that it came with."""
        if self.in_place:
            self._function.__code__, self._function.__kwdefaults__ = self._before
            vars(self._function).pop("__signature__", None)


def _call(*args: Any, _replacement: Any, **kwargs: Any) -> Any:
    return _replacement(*args, **kwargs)


async def _call_async(*args: Any, _replacement: Any, **kwargs: Any) -> Any:
    return await _replacement(*args, **kwargs)


def _copy(function: FunctionType) -> FunctionType:
    copy = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def own_function(cls: Any, name: str) -> FunctionType:
    """The function that the SDK's source has as the method `name`, whatever has been put around it."""
    owner = next((base for base in cls.__mro__ if name in vars(base) and is_of_the_sdk(base.__module__)), cls)
    found = inspect.unwrap(getattr(owner, name))
    own_name = f"{owner.__qualname__}.{name}"
    if _is_own(found, own_name):
        return cast("FunctionType", found)
    # Not every wrapper says what it wraps, but it keeps it alive.
    for held in gc.get_objects():
        if _is_own(held, own_name):
            return cast("FunctionType", held)
    raise MisfitError(f"{own_name} has been replaced by {found!r}")


def _is_own(found: Any, own_name: str) -> bool:
    """Told by what a wrapper cannot copy: the code's own name, and the module it runs in."""
    if type(found) is not FunctionType or found.__code__.co_qualname != own_name:
        return False
    module = found.__globals__.get("__name__", "")
    # One that is imported: a program may have thrown the package out and imported it again.
    return is_of_the_sdk(module) and getattr(sys.modules.get(module), "__dict__", None) is found.__globals__


def is_of_the_sdk(module: str) -> bool:
    """Whether the module of that name is one of the official SDK's."""
    return module.partition(".")[0] == "tinker"
