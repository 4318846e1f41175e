"""Tokenizers that are not on the Hugging Face hub. A stand-in for tml-renderers, which needs PyTorch."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tinker_client.tokenizers import load_tokenizer
from tinker_sidecar.local_server.engines import tiny

TML_RENDERERS = """
class O200kBaseChatTokenizer:
    bos_token, eos_token = "begin", "end"
    def encode_ordinary(self, text): return tuple(map(ord, text))
    def decode(self, ids): return "".join("<end>" if i == 999 else chr(i) for i in ids)
    def encode_special(self, name): return {"begin": 998, "end": 999}[name]
    def is_special_token(self, token_id): return token_id >= 998
"""


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    yield
    load_tokenizer.cache_clear()
    for name in [name for name in sys.modules if name.startswith("tml_renderers")]:
        del sys.modules[name]


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that Python imports from first."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def write(packages: Path, module: str, source: str) -> None:
    path = packages.joinpath(*module.split(".")).with_suffix(".py")
    path.parent.mkdir()
    path.with_name("__init__.py").touch()
    path.write_text(source)


@pytest.mark.parametrize("model", ["thinkingmachines/Inkling", "TML/Inkling/large", "TML/Inkling:8k"])
def test_thinking_machines_models_through_tml_renderers(packages: Path, model: str) -> None:
    write(packages, "tml_renderers.tokenizers", TML_RENDERERS)
    tokenizer = load_tokenizer(model)
    assert tokenizer.encode("hi") == tokenizer.encode("hi", add_special_tokens=False) == [104, 105]
    assert tokenizer.decode([104, 105, 999]) == "hi<end>"
    assert tokenizer.decode([104, 105, 999], skip_special_tokens=True) == "hi"
    assert tokenizer.decode(104) == "h"
    assert (tokenizer.eos_token, tokenizer.eos_token_id, tokenizer.bos_token) == ("end", 999, "begin")
    with pytest.raises(ValueError, match="adds no special tokens"):
        tokenizer.encode("hi", add_special_tokens=True)


def test_models_that_are_called_by_their_folder(tmp_path: Path) -> None:
    """As the local server calls those that transformers has loaded."""
    folder = shutil.copytree(tiny.FOLDER, tmp_path / "model:1")
    assert load_tokenizer(str(folder)).encode("57*38=") == [*b"57*38="]


def test_without_tml_renderers_it_is_named() -> None:
    with pytest.raises(ImportError, match=r'Inkling needs .*: pip install "tml-renderers"$'):
        load_tokenizer("thinkingmachines/Inkling")
