"""Calling a method of an official client past the SDK's own wrappers around it."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

from tinker_client.official.patching import is_of_the_sdk, own_function

__all__ = ["shortcut"]

_DECORATORS = ("typing_extensions", "warnings", "_py_warnings")
"""The modules that `deprecated`, which the SDK uses, may be of; the last one from Python 3.14 on."""


def shortcut(cls: Any, name: str, does: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """What calls the method `name` of a client of `cls`, for a function of ours that stands in for another.

    `does` is what the SDK's own function of that name does by then, if that is known; it need not be called.

    Newer versions of the SDK have wrappers around each public method. They note which method a program has
    called, where only the outermost counts, and warn of those that are deprecated. From one method to the
    next that has been done already, and it takes longer than to submit a request. Anything else in the way
    is called: what a tool or a program has put there, on the class or on one client, or a subclass's method.
    """
    function = own_function(cls, name)
    method = getattr(cls, name)
    only_the_sdks = method if _only_the_sdk_has_wrapped(function, method) else object()
    inner = function if does is None else does

    def call(client: Any, *args: Any, **kwargs: Any) -> Any:
        bound = getattr(client, name)
        if getattr(bound, "__func__", None) is only_the_sdks:
            return inner(client, *args, **kwargs)
        return bound(*args, **kwargs)

    return call


def _only_the_sdk_has_wrapped(function: FunctionType, method: Any) -> bool:
    """Told by the modules that the wrappers run in, which cannot be copied as their names can."""
    while method is not function:
        if type(method) is not FunctionType:
            return False
        module = method.__globals__.get("__name__", "")
        if not (is_of_the_sdk(module) or module in _DECORATORS):
            return False
        method = getattr(method, "__wrapped__", None)
    return True
