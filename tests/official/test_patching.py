"""Changing what a function of the SDK does, on a stand-in for the SDK: whoever holds it gets the new one."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tinker_client.official.patching import Patch, own_function
from tinker_client.official.results import MisfitError

SOURCE = """
class Observer:
    def sample(self, prompt):
        raise NotImplementedError

class Client(Observer):
    def sample(self, prompt, num_samples=1, *, seed=0):
        return f"sdk {prompt} {num_samples} {seed}"

    async def sample_async(self, prompt):
        return f"sdk {prompt}"
"""


@pytest.fixture
def client_class(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = ModuleType("tinker.stand_in")
    exec(SOURCE, vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module.Client


def shouting(original: Callable[..., str]) -> Callable[..., str]:
    return lambda *args, **kwargs: original(*args, **kwargs).upper()


def shouting_async(original: Any) -> Any:
    async def replacement(*args: Any, **kwargs: Any) -> Any:
        return (await original(*args, **kwargs)).upper()

    return replacement


def politely(original: Any) -> Any:
    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return [original(*args, **kwargs)]

    return wrapper


def rudely(original: Any) -> Any:
    return lambda *args, **kwargs: [original(*args, **kwargs)]


def test_a_patched_function_does_something_else_until_that_is_undone(client_class: Any) -> None:
    patch = Patch(own_function(client_class, "sample"), shouting)
    assert client_class().sample("hello", seed=3) == "SDK HELLO 1 3"
    assert patch.in_place
    patch.undo()
    assert client_class().sample("hello", 2) == "sdk hello 2 0"
    assert not patch.in_place


def test_it_is_found_and_described_as_before(client_class: Any) -> None:
    before = {
        name: (inspect.signature(method), method.__qualname__, inspect.iscoroutinefunction(method))
        for name, method in vars(client_class).items()
        if inspect.isfunction(method)
    }
    for name, replacing in (("sample", shouting), ("sample_async", shouting_async)):
        function = own_function(client_class, name)
        Patch(function, replacing)
        assert own_function(client_class, name) is function
        assert (
            inspect.signature(function),
            function.__qualname__,
            inspect.iscoroutinefunction(function),
        ) == before[name]


def test_an_asynchronous_one(client_class: Any) -> None:
    Patch(own_function(client_class, "sample_async"), shouting_async)
    with pytest.raises(StopIteration) as stop:
        client_class().sample_async("hello").send(None)
    assert stop.value.value == "SDK HELLO"


@pytest.mark.parametrize("wrap", [politely, rudely])
def test_wrappers_from_before_and_after_are_kept(client_class: Any, wrap: Any) -> None:
    original = client_class.sample
    client_class.sample = before = wrap(original)
    patch = Patch(own_function(client_class, "sample"), shouting)
    client_class.sample = wrap(before)
    assert client_class().sample("hello") == [["SDK HELLO 1 0"]]
    patch.undo()
    assert client_class().sample("hello") == [["sdk hello 1 0"]]


def test_one_that_a_subclass_overrides_is_its_nearest_ancestors(client_class: Any) -> None:
    class Traced(client_class):  # type: ignore[misc]
        def sample(self, *args: Any) -> Any:
            return [super().sample(*args)]

    assert own_function(Traced, "sample") is client_class.sample


def test_the_original_put_back_is_patched_too(client_class: Any) -> None:
    original = client_class.sample
    client_class.sample = rudely(original)
    Patch(own_function(client_class, "sample"), shouting)
    client_class.sample = original
    assert client_class().sample("hello") == "SDK HELLO 1 0"


def test_one_that_is_gone_for_good_is_reported(client_class: Any) -> None:
    client_class.sample = lambda self, prompt: prompt
    with pytest.raises(MisfitError, match=r"Client\.sample has been replaced by"):
        own_function(client_class, "sample")


def test_one_that_cannot_be_patched_stays_as_it_is() -> None:
    greeting = "hello"

    def greet() -> str:
        return greeting

    with pytest.raises(MisfitError, match="greet cannot be replaced"):
        Patch(greet, shouting)  # type: ignore[arg-type]
    assert (greet(), greet.__kwdefaults__, vars(greet)) == ("hello", None, {})


def test_undoing_leaves_what_another_put_there(client_class: Any) -> None:
    function = own_function(client_class, "sample")
    first = Patch(function, shouting)
    second = Patch(function, lambda original: lambda *args: f"{original(*args)}!")
    first.undo()
    assert client_class().sample("hello") == "SDK HELLO 1 0!"
    second.undo()
    first.undo()
    assert client_class().sample("hello") == "sdk hello 1 0"
