"""The public surface is whole, sorted, documented, and light to import."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

from tinker_client import types


def _public_modules() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(types.__path__) if not module.name.startswith("_")]


def test_the_surface_is_sorted() -> None:
    assert types.__all__ == sorted(set(types.__all__))


def test_the_surface_is_complete() -> None:
    offered = {
        name
        for module in _public_modules()
        for name in importlib.import_module(f"tinker_client.types.{module}").__all__
        if name[0].isupper()
    }
    # The one name that lives elsewhere: `errors` needs it, and must not import the types.
    assert set(types.__all__) == offered | {"RequestErrorCategory"}


def test_every_name_is_there() -> None:
    for name in types.__all__:
        assert getattr(types, name) is not None


@pytest.mark.parametrize("name", types.__all__)
def test_every_class_and_its_methods_are_documented(name: str) -> None:
    cls = getattr(types, name)
    if not inspect.isclass(cls):
        pytest.skip("an alias of types")
    assert inspect.getdoc(cls)
    members = [member for key, member in vars(cls).items() if not key.startswith("_")]
    methods = [member for member in members if isinstance(member, classmethod | property)]
    assert all(inspect.getdoc(method) or _obvious(method) for method in methods)


def _obvious(member: classmethod | property) -> bool:
    """A property that only gives back an argument of the constructor, which the class describes."""
    return isinstance(member, property) and member.fget.__name__ in ("dtype", "type")


def test_importing_is_light() -> None:
    script = (
        "import sys, tinker_client.types, tinker_client.errors\n"
        "heavy = {'numpy', 'torch', 'transformers', 'pydantic', 'zmq', 'uvloop', 'asyncio', 'dataclasses'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    # `tinker_client` itself is left out: what it imports is its own affair.
    folder = str(Path(types.__file__).parents[1])
    stub = (
        "import sys, types\n"
        "package = sys.modules['tinker_client'] = types.ModuleType('tinker_client')\n"
        f"package.__path__ = [{folder!r}]\n"
    )
    done = subprocess.run([sys.executable, "-c", stub + script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_lists_need_no_numpy(full_payload: bytes) -> None:
    script = (
        "import sys\n"
        "from tinker_client.types import ModelInput, SampleResponse, SamplingParams\n"
        "ModelInput.from_ints([1, 2, 3]).to_wire(), SamplingParams(max_tokens=3).to_wire()\n"
        "response = SampleResponse.from_wire(sys.stdin.buffer.read())\n"
        "response.prompt_logprobs, response.topk_prompt_logprobs, response.target_prompt_logprobs.data\n"
        "for sequence in response.samples: sequence.tokens, sequence.logprobs, sequence.topk_logprobs\n"
        "print(repr(response), 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], input=full_payload, capture_output=True, check=True)
    assert done.stdout.decode().strip() == "SampleResponse(2 sequences, 3 tokens) False"


@pytest.mark.parametrize("name", types.__all__)
def test_help_helps(name: str) -> None:
    assert len(pydoc.render_doc(getattr(types, name))) > 100
