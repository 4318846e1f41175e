"""A real language model small enough to ship: it works out arithmetic problems.

The model, its `config.json` and its tokenizer's files lie in `FOLDER`, which transformers'
`AutoTokenizer.from_pretrained` can read.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinker_sidecar.local_server.engines.tiny.engine import TinyEngine

__all__ = ["BASE_MODEL", "FOLDER", "TinyEngine"]

BASE_MODEL = "tinker-sidecar/tiny-arithmetic"
FOLDER = Path(__file__).parent


def __getattr__(name: str) -> object:
    # Late, so that `tiny.problems` and `FOLDER` come without numpy.
    if name == "TinyEngine":
        from tinker_sidecar.local_server.engines.tiny.engine import TinyEngine

        return TinyEngine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
