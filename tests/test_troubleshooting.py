"""`docs/troubleshooting.md` quotes messages that the code has."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/troubleshooting.md").read_text()
QUOTED = re.findall(r"^\| `([^`]+)`", PAGE, re.MULTILINE)
"""The messages that rows begin with."""

_PLACEHOLDER = re.compile(r"%(?:\.\d+)?[sdrf]")


@pytest.mark.parametrize("message", QUOTED)
def test_a_message_is_one_of_the_codes(message: str) -> None:
    parts = [part.strip(" .:;") for part in message.split("…")]
    assert sum(map(len, parts)) >= 8, "too little to be searched for"
    assert re.search(".*".join(map(re.escape, filter(None, parts))), strings())


def test_the_page_quotes_messages() -> None:
    assert len(QUOTED) > 80


@cache
def strings() -> str:
    """Each string in the code on a line, with `…` for what is put into it."""
    trees = [
        ast.parse(path.read_text())
        for package in ("tinker_client", "tinker_sidecar")
        for path in (ROOT / package).rglob("*.py")
    ]
    texts = [_text(node) for tree in trees for node in ast.walk(tree) if isinstance(node, ast.expr)]
    return "\n".join(text.replace("\n", " ") for text in texts if len(text) > 1)


def _text(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return _PLACEHOLDER.sub("…", text).replace("%%", "%")
        case ast.JoinedStr(values):
            return "".join(map(_text, values))
        case ast.BinOp(left, ast.Add(), right):
            return _text(left) + _text(right)
    return "…"
