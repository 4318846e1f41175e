"""Calling a method past the SDK's own wrappers, on a stand-in for the SDK: all others are still called."""

from __future__ import annotations

import functools
import sys
from types import ModuleType
from typing import Any

import pytest
from typing_extensions import deprecated

from tinker_client.official.patching import Patch, own_function
from tinker_client.official.shortcut import shortcut

SOURCE = """
import functools

calls = []

def tracked(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        calls.append(function.__name__)
        return function(*args, **kwargs)
    return wrapper

class Client:
    @tracked
    @deprecated("use another")
    def sample(self, prompt, *, seed=0):
        return f"sdk {prompt} {seed}"
"""


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = ModuleType("tinker.stand_in")
    vars(module)["deprecated"] = deprecated
    exec(SOURCE, vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def politely(method: Any) -> Any:
    @functools.wraps(method)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return [method(*args, **kwargs)]

    return wrapper


def rudely(method: Any) -> Any:
    return lambda *args, **kwargs: [method(*args, **kwargs)]


class Called:
    """What a tool written in C puts there."""

    def __init__(self, method: Any) -> None:
        self._method = method

    def __get__(self, instance: Any, owner: Any) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return [self._method(*args, **kwargs)]


WRAPS = [politely, rudely, Called]


@pytest.mark.filterwarnings("error")
def test_the_sdks_own_wrappers_are_not_called(sdk: Any) -> None:
    sample = shortcut(sdk.Client, "sample")
    assert sample(sdk.Client(), "hello", seed=3) == "sdk hello 3"
    assert sdk.calls == []


@pytest.mark.filterwarnings("error")
def test_what_a_patch_has_put_in_the_functions_place_is(sdk: Any) -> None:
    sample = shortcut(sdk.Client, "sample")
    patch = Patch(own_function(sdk.Client, "sample"), lambda original: lambda *_: "ours")
    assert sample(sdk.Client(), "hello") == "ours"
    patch.undo()
    assert sample(sdk.Client(), "hello") == "sdk hello 0"


@pytest.mark.filterwarnings("error")
def test_what_the_function_does_may_be_said(sdk: Any) -> None:
    sample = shortcut(sdk.Client, "sample", lambda client, prompt: f"ours {prompt}")
    assert sample(sdk.Client(), "hello") == "ours hello"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("wrap", WRAPS)
def test_wrappers_from_before_are_called(sdk: Any, wrap: Any) -> None:
    usual = sdk.Client.sample
    sdk.Client.sample = wrap(usual)
    sample = shortcut(sdk.Client, "sample", lambda *_: "not called")
    assert sample(sdk.Client(), "hello") == ["sdk hello 0"]
    sdk.Client.sample = usual
    assert sample(sdk.Client(), "hello") == "sdk hello 0"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("wrap", WRAPS)
def test_wrappers_from_after_are_called_while_they_are_there(sdk: Any, wrap: Any) -> None:
    sample = shortcut(sdk.Client, "sample")
    usual = sdk.Client.sample
    sdk.Client.sample = wrap(usual)
    assert sample(sdk.Client(), "hello") == ["sdk hello 0"]
    assert sdk.calls == ["sample"]
    sdk.Client.sample = usual
    assert sample(sdk.Client(), "hello") == "sdk hello 0"
    assert sdk.calls == ["sample"]


@pytest.mark.filterwarnings("ignore")
def test_so_is_what_one_client_has(sdk: Any) -> None:
    sample = shortcut(sdk.Client, "sample")
    client = sdk.Client()
    client.sample = lambda prompt: f"its own {prompt}"
    assert sample(client, "hello") == "its own hello"
    assert sample(sdk.Client(), "hello") == "sdk hello 0"


@pytest.mark.filterwarnings("ignore")
def test_so_is_the_method_of_a_subclass(sdk: Any) -> None:
    class Traced(sdk.Client):  # type: ignore[misc, name-defined]
        def sample(self, *args: Any) -> Any:
            return [super().sample(*args)]

    class Other(sdk.Client):  # type: ignore[misc, name-defined]
        pass

    sample = shortcut(sdk.Client, "sample")
    assert sample(Traced(), "hello") == ["sdk hello 0"]
    sdk.calls.clear()
    assert sample(Other(), "hello") == "sdk hello 0"
    assert sdk.calls == []
