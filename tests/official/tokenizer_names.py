"""Which tokenizer each package loads for a model: `python tokenizer_names.py` prints what differs.

Runs in the official SDK's environments. The names are those that its loader has in its code, so a model that
a new version knows of is among them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

from tinker.lib.public_interfaces.sampling_client import _load_tokenizer_from_model_info
from transformers import AutoTokenizer

from tinker_client.tokenizers import load_tokenizer

OTHERS = ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B/fast", "Qwen/Qwen3-8B:8k", "meta-llama/Llama-3.1-8B:peft/4")


def constants(code: Any) -> Iterator[str]:
    for constant in code.co_consts if isinstance(code, CodeType) else code:
        if isinstance(constant, tuple):
            yield from constants(constant)
        elif isinstance(constant, str):
            yield constant


def models() -> list[str]:
    code = _load_tokenizer_from_model_info.__wrapped__.__code__
    # A name, a prefix of names, and no sentence.
    named = [text for text in constants(code) if text.count("/") == 1 and " " not in text and text != "/"]
    return [*OTHERS, *(f"{name}{suffix}" for name in named for suffix in ("", "-Chat", "/fast", ":8k"))]


def loaded(load: Callable[[str], Any], model: str) -> Any:
    """What the package asks the hub for: a name, and whose code it trusts. Nothing is downloaded."""
    asked: list[Any] = []

    def from_pretrained(name: str, **options: Any) -> None:
        asked.append([name, bool(options.get("trust_remote_code")), options.get("revision")])

    AutoTokenizer.from_pretrained = from_pretrained
    try:
        load(model)
    except Exception as error:
        return "tml-renderers" if "tml-renderers" in str(error) else repr(error)
    return asked


def main() -> None:
    both = {
        model: [loaded(_load_tokenizer_from_model_info, model), loaded(load_tokenizer, model)]
        for model in models()
    }
    differing = {model: told for model, told in both.items() if told[0] != told[1]}
    print(json.dumps({"models": len(both), "differing": differing}))


if __name__ == "__main__":
    main()
