"""A real language model small enough to ship: it works out arithmetic problems.

The model, its `config.json` and its tokenizer's files lie in `FOLDER`, which transformers'
`AutoTokenizer.from_pretrained` can read. `tiny.engine` runs the model; this module and `tiny.problems` come
without numpy.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["BASE_MODEL", "FOLDER"]

BASE_MODEL = "tinker-sidecar/tiny-arithmetic"
FOLDER = Path(__file__).parent
