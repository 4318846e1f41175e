"""An extension of Python-Markdown: a public name between back-ticks is a link to its place in the reference.

It holds for guides and docstrings alike, which need no other mark-up than they have for a terminal. A member
that its class does not have is a broken reference, as which mkdocs reports it.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import griffe
from markdown import Extension, Markdown
from markdown.treeprocessors import Treeprocessor

_ROOT = Path(__file__).parents[2]
_PAGES = _ROOT / "docs/reference"

_PLACE = re.compile(r"^::: ([\w.]+)", re.MULTILINE)
"""Where a page of the reference has mkdocstrings tell of a name."""

_NAME = re.compile(r"(?:(?:tinker_client|types)\.)*(\w+)(?:\.([a-z]\w*))?(?:\(.*\))?")
_FUNCTION = re.compile(r"tinker_client\.\w+(?:\(.*\))?")


def makeExtension(**_: Any) -> Extension:  # noqa: N802 - the name that Python-Markdown looks for
    return _Links()


class _Links(Extension):
    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        # After back-ticks have become elements (priority 20), before elements become text.
        md.treeprocessors.register(_NamesToLinks(md), "names-to-links", 15)


class _NamesToLinks(Treeprocessor):
    def run(self, root: Element) -> None:
        self._link_below(root)

    def _link_below(self, parent: Element) -> None:
        for index, child in enumerate(parent):
            if child.tag == "code" and (target := identifier(str(child.text))):
                link = Element("autoref", {"identifier": target})
                link.tail, child.tail = child.tail, None
                link.append(child)
                parent[index] = link
            elif child.tag not in ("a", "autoref", "pre", *(f"h{level}" for level in range(1, 7))):
                self._link_below(child)


def identifier(text: str) -> str | None:
    """Where the reference tells of what stands between back-ticks; None if that is no public name."""
    match = _NAME.fullmatch(text)
    if match is None:
        return None
    name, member = match.groups()
    place = places().get(name)
    if place is None or not (name[0].isupper() or _FUNCTION.fullmatch(text)):
        return None
    owner: Any = code()[place]
    found = owner.all_members.get(member)
    if member is not None and found is None:
        return f"{place}.{member}"  # There is no such place: mkdocs says so.
    has_a_place = found is not None and found.has_docstring and not member.endswith("_wire")
    # What has no text of its own, or is the standard library's, is told of by its class.
    shown = found if has_a_place and found.canonical_path.startswith("tinker_") else owner
    return str(shown.canonical_path)


@cache
def places() -> dict[str, str]:
    """Each name that the reference tells of, and the path by which it does."""
    paths = [path for page in _PAGES.glob("*.md") for path in _PLACE.findall(page.read_text())]
    return {path.rpartition(".")[2]: path for path in paths}


@cache
def code() -> griffe.ModulesCollection:
    """Our packages, and what our futures inherit from, as griffe reads them."""
    loader = griffe.GriffeLoader(search_paths=[_ROOT])
    for package in ("tinker_client", "tinker_sidecar", "concurrent.futures"):
        loader.load(package)
    loader.resolve_aliases()
    return loader.modules_collection
