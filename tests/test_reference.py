"""The API reference is whole: each public name is on one of its pages, and its text explains all of it.

`make docs` makes the pages, and fails at a reference to what there is not. mkdocs is not needed here.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

import tinker_client
from tinker_client import types
from tinker_sidecar.ipc import stats

PAGES = Path(__file__).parents[1] / "docs/reference"
PATHS = [
    path
    for page in sorted(PAGES.glob("*.md"))
    for path in re.findall(r"^::: ([\w.]+)", page.read_text(), re.MULTILINE)
]
"""What the pages tell of, in mkdocstrings' notation."""

PUBLIC = {*tinker_client.__all__, *types.__all__, *stats.__all__} - {"types", "__version__"}
INHERITING = {"APIFuture", "SamplingClient"}
"""Classes whose page has what they inherit, too."""
MADE_BY_US = {"APIFuture", "SamplingClient", "Telemetry", "LocalServer", "PydanticModel"}
"""Classes that a program does not make objects of."""


def value_of(path: str) -> Any:
    """The module, class, function or constant of this path."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        return getattr(importlib.import_module(module), name)


VALUES = {path: value_of(path) for path in PATHS}
CLASSES = [value for value in VALUES.values() if inspect.isclass(value)]


def test_each_public_name_is_told_of_once() -> None:
    told_of = Counter(path.rpartition(".")[2] for path in PATHS)
    assert PUBLIC - set(told_of) == set()
    assert [name for name, times in told_of.items() if times > 1] == []


@pytest.mark.parametrize("path", [path for path in PATHS if inspect.isfunction(VALUES[path])])
def test_a_function_explains_its_arguments(path: str) -> None:
    assert unexplained(VALUES[path], inspect.getdoc(VALUES[path])) == set()


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_class_explains_its_arguments_and_fields(cls: type) -> None:
    if has_fields(cls):
        assert fields(cls) - explained_fields(cls) == set()
    elif cls.__name__ not in MADE_BY_US:
        texts = [base.__doc__ or "" for base in cls.__mro__ if base.__module__.startswith("tinker_")]
        assert unexplained(cls, "\n".join(map(inspect.cleandoc, texts))) == set()


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_the_methods_of_a_class_explain_their_arguments(cls: type) -> None:
    missing = {name: unexplained(method, inspect.getdoc(method)) for name, method in methods(cls)}
    assert {name: arguments for name, arguments in missing.items() if arguments} == {}


def methods(cls: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Those that the page of `cls` has, but for coroutine methods that do what another method does."""
    bases = [base for base in cls.__mro__ if base.__module__.startswith("tinker_")]
    for base in bases if cls.__name__ in INHERITING else [cls]:
        for name, value in vars(base).items():
            function = getattr(value, "__func__", value)  # That of a class method.
            is_twin = name.endswith("_async") and hasattr(cls, name.removesuffix("_async"))
            if inspect.isfunction(function) and not (
                name.startswith("_") or name.endswith("_wire") or is_twin
            ):
                yield name, function


def has_fields(cls: type) -> bool:
    """Whether each of its fields has a text of its own."""
    return cls.__module__ == stats.__name__ or is_dataclass(cls) or issubclass(cls, Enum)


def fields(cls: Any) -> set[str]:
    if issubclass(cls, Enum):
        return {member.name for member in cls}
    return set(cls.__struct_fields__ if hasattr(cls, "__struct_fields__") else cls.__dataclass_fields__)


def explained_fields(cls: type) -> set[str]:
    """The fields that a text follows in the source."""
    (definition,) = ast.parse(inspect.getsource(cls)).body
    assert isinstance(definition, ast.ClassDef)
    return {
        ast.unparse(statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0])
        for statement, following in zip(definition.body, definition.body[1:], strict=False)
        if isinstance(statement, ast.AnnAssign | ast.Assign)
        and isinstance(following, ast.Expr)
        and isinstance(following.value, ast.Constant)
    }


def unexplained(of: Callable[..., Any], text: str | None) -> set[str]:
    """The arguments that `text` neither lists nor has between back-ticks."""
    text = text or ""
    listed = re.findall(r"^\*?([a-z_]\w*(?:, [a-z_]\w*)*)$", text, re.MULTILINE)
    names = {name for line in listed for name in line.split(", ")}
    names |= {name for span in re.findall(r"`([^`]+)`", text) for name in re.findall(r"\w+", span)}
    parameters = inspect.signature(of).parameters.keys()
    return parameters - names - {"self", "cls", "args", "kwargs"}
