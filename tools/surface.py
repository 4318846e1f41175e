"""Print the sampling surface of a package as JSON: `python surface.py tinker` or `… tinker_client`.

Runs in the official SDK's environments too, so it needs nothing but the standard library.
"""

from __future__ import annotations

import ast
import enum
import importlib
import inspect
import json
import sys
import textwrap
import types
import typing
from collections.abc import Iterator
from typing import Any

__all__ = ["CLASSES", "surface"]

_MODULES = {
    "tinker": (
        "tinker",
        "tinker.types",
        "tinker.lib.retry_handler",
        "tinker.lib.api_future_impl",
        "tinker.types.topk_logprobs",
        "tinker.types.topk_prompt_logprobs",
    ),
    "tinker_client": ("tinker_client", "tinker_client.types"),
}
"""Where a user finds classes: the last ones have no name in the official package itself."""

_FUTURE_OF_ITSELF = "create_sampling_client(…)"
"""What that call returns, as far as it is a future."""

CLASSES = (
    "ServiceClient",
    "SamplingClient",
    _FUTURE_OF_ITSELF,
    "APIFuture",
    "RetryConfig",
    "QueueState",
    "ModelInput",
    "ModelInputChunk",
    "EncodedTextChunk",
    "ImageChunk",
    "ImageAssetPointerChunk",
    "DmelChunk",
    "SamplingParams",
    "SampleResponse",
    "SampledSequence",
    "StopReason",
    "TopkLogprobs",
    "TopkPromptLogprobs",
    "PromptAltTokens",
    "TensorData",
    "TensorDtype",
    "GetServerCapabilitiesResponse",
    "SupportedModel",
    "RequestErrorCategory",
    "TinkerError",
    "APIError",
    "APIConnectionError",
    "APITimeoutError",
    "APIResponseValidationError",
    "APIStatusError",
    "BadRequestError",
    "AuthenticationError",
    "BillingError",
    "PermissionDeniedError",
    "NotFoundError",
    "ConflictError",
    "UnprocessableEntityError",
    "RateLimitError",
    "InternalServerError",
    "RequestFailedError",
    "SidecarError",
    "SidecarStartupError",
    "SidecarDiedError",
    "SidecarIPCError",
)

_FUTURE_METHODS = ("result", "result_async", "future", "coroutine", "__await__")
_SPECIAL_METHODS = ("__await__", "__enter__", "__exit__")
_LIBRARIES = ("builtins", "pydantic", "msgspec", "enum", "typing", "abc", "exceptions")


def surface(package: str) -> dict[str, Any]:
    """`version`, the public `names` of the package, and the `members` of the classes above.

    `members` maps a class to what it has, each with a short text that says what it is.
    """
    modules = [module for name in _MODULES[package] if (module := _import(name)) is not None]
    members = {}
    for name in CLASSES:
        only = _FUTURE_METHODS if name == _FUTURE_OF_ITSELF else None
        sought = ("BackcompatSamplingClientFuture", "SamplingClient") if only else (name,)
        found = next((getattr(m, n) for n in sought for m in modules if hasattr(m, n)), None)
        if found is not None:
            members[name] = dict(_members(name, found, only))
    names = {
        module.__name__.replace(package, "", 1).lstrip("."): _public_names(module) for module in modules[:2]
    }
    return {"version": modules[0].__version__, "names": names, "members": members}


def _import(name: str) -> types.ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


def _public_names(module: types.ModuleType) -> list[str]:
    # Without __all__ (tinker.types has none) whatever starts with a capital is meant for users.
    names = getattr(module, "__all__", None) or [name for name in dir(module) if name[:1].isupper()]
    public = [name for name in names if not name.startswith("_")]
    return [name for name in public if not isinstance(getattr(module, name), types.ModuleType)]


def _members(name: str, found: Any, only: tuple[str, ...] | None) -> Iterator[tuple[str, str]]:
    if not inspect.isclass(found):
        yield name, _alias(found)
    elif issubclass(found, enum.Enum):
        yield name, "enum"
        yield from ((f"{name}.{member.name}", repr(member.value)) for member in found)
    else:
        if only is None:
            yield name, _class(found)
            yield from _constructor(name, found)
        for attribute in sorted(only or _attributes(found)):
            if hasattr(found, attribute) or only is None:
                yield from _attribute(name, found, attribute)


def _alias(found: Any) -> str:
    while hasattr(found, "__metadata__"):
        found = found.__origin__
    values = [getattr(value, "__name__", None) or repr(value) for value in typing.get_args(found)]
    return "one of " + ", ".join(sorted(values))


def _class(cls: type) -> str:
    if not issubclass(cls, BaseException):
        return "class"
    # Ours derive from standard exceptions too: of the tree, the parent is what matters.
    parents = [base.__name__ for base in cls.__bases__ if base.__module__ != "builtins"]
    return f"error, child of {parents[0]}" if parents else "error"


def _constructor(name: str, cls: type) -> Iterator[tuple[str, str]]:
    if hasattr(cls, "__struct_fields__"):
        yield from _parameters(name, _struct_parameters(cls))
        return
    try:
        signature = inspect.signature(cls)
    except ValueError:  # An exception without an __init__ of its own.
        return
    yield from _parameters(name, list(signature.parameters.values()))


def _struct_parameters(cls: Any) -> list[inspect.Parameter]:
    """msgspec's own signature evaluates annotations, which may name modules that are not imported."""
    fields, defaults = cls.__struct_fields__, cls.__struct_defaults__
    required = [inspect.Parameter.empty] * (len(fields) - len(defaults))
    positional, keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(field, positional if field in cls.__match_args__ else keyword, default=default)
        for field, default in zip(fields, [*required, *defaults], strict=True)
    ]


def _parameters(name: str, parameters: list[inspect.Parameter]) -> Iterator[tuple[str, str]]:
    for position, parameter in enumerate(parameters, 1):
        if parameter.name.startswith("_"):
            continue
        prefix = {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**"}.get(parameter.kind.name, "")
        text = f"argument {position}" if parameter.kind in (0, 1) else "by keyword"
        if not prefix:
            default = parameter.default
            text += ", required" if default is parameter.empty else f", default {_value(default)}"
        yield f"{name}({prefix}{parameter.name})", text


def _attributes(cls: type) -> set[str]:
    """What belongs to the class or its ancestors in the package, assigned in a constructor included."""
    found: set[str] = set()
    for base in cls.__mro__:
        if base.__module__.split(".")[0] in _LIBRARIES:
            continue
        found |= {name for name in vars(base) if not name.startswith("_") or name in _SPECIAL_METHODS}
        found |= {name for name in getattr(base, "__annotations__", ()) if not name.startswith("_")}
        found |= _assigned_in_constructor(base)
        # pydantic keeps fields and validators elsewhere, and its configuration among them.
        decorators = getattr(base, "__pydantic_decorators__", None)
        if decorators is not None:
            found -= {*decorators.field_validators, *decorators.field_serializers, "model_config"}
    return found


def _assigned_in_constructor(cls: type) -> set[str]:
    if "__init__" not in vars(cls):
        return set()
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(vars(cls)["__init__"]))))
    except (OSError, TypeError):  # Generated: a dataclass, whose annotations say it all.
        return set()
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
        and not node.attr.startswith("_")
    }


def _attribute(name: str, cls: type, attribute: str) -> Iterator[tuple[str, str]]:
    static = inspect.getattr_static(cls, attribute, None)
    if isinstance(static, staticmethod | classmethod):
        kind = "class method"
    elif inspect.isfunction(static):
        kind = "async method" if inspect.iscoroutinefunction(inspect.unwrap(static)) else "method"
    elif attribute == "status_code" and isinstance(static, int):
        yield f"{name}.{attribute}", f"attribute, {static}"
        return
    elif not callable(getattr(cls, attribute, None)):
        yield f"{name}.{attribute}", "attribute"
        return
    else:
        kind = "method"
    yield f"{name}.{attribute}()", kind
    if attribute in _SPECIAL_METHODS:
        return
    parameters = list(inspect.signature(getattr(cls, attribute)).parameters.values())
    yield from _parameters(f"{name}.{attribute}", parameters[kind != "class method" :])


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_value, value)) + ")"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, enum.Enum):
        value = value.value
    return value.__name__ if inspect.isclass(value) else repr(value)


if __name__ == "__main__":
    print(json.dumps(surface(sys.argv[1])))
