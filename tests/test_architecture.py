"""The code is built as `docs/architecture.md` says, and the documents name what there is.

The page's own tables are what is checked, so that it cannot say one thing and this another. grimp reads the
imports. import-linter, which is built on it, would want the same rules a second time in a file of its own,
and looks for circles between packages rather than between modules.
"""

from __future__ import annotations

import ast
import builtins
import graphlib
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import grimp
import pytest

from tinker_client.local_server import LocalServer

ROOT = Path(__file__).parents[1]
PACKAGES = ("tinker_client", "tinker_sidecar")
PAGE = (ROOT / "docs/architecture.md").read_text()
DOCUMENTS = ("README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))


def table(first_column: str, page: str) -> list[list[str]]:
    """The rows of the table whose first column has this name."""
    lines = page[page.index(f"\n| {first_column} |") + 1 :].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def spans(text: str) -> list[str]:
    """What stands between back-ticks."""
    return re.findall(r"`([^`\n]+)`", text)


ALLOWED = {room: [*filter(None, may_import.split(", "))] for room, _, _, may_import in table("room", PAGE)}
"""What each room may import, in the order of the page."""

ROOMS = {path: room for room, files, *_ in table("room", PAGE) for path in spans(files)}
"""The room of each path that the page names."""


def test_rooms_import_only_what_the_page_allows() -> None:
    refused = [
        f"{importer} imports {imported}, but {here} may not import {there}"
        for importer, imported in imports()
        if (here := room_of(importer)) != (there := room_of(imported)) and there not in ALLOWED[here]
    ]
    assert sorted(refused) == []


def test_the_page_allows_nothing_that_is_not_done() -> None:
    done = {(room_of(importer), room_of(imported)) for importer, imported in imports()}
    assert [(here, there) for here in ALLOWED for there in ALLOWED[here] if (here, there) not in done] == []


def test_rooms_import_only_rooms_below_them() -> None:
    rooms = list(ALLOWED)
    for number, room in enumerate(rooms):
        assert set(ALLOWED[room]) <= set(rooms[number + 1 :]), room


def test_libraries_are_imported_only_where_the_page_says() -> None:
    for library, rooms in table("library", PAGE):
        users = graph().find_modules_that_directly_import(library.strip("`"))
        assert {room_of(module) for module in users} == set(rooms.split(", ")), library


@pytest.mark.parametrize("unknown", ["zmq", "tinker_client"])
def test_the_engine_does_not_get_to_know(unknown: str) -> None:
    """Nor by way of what it imports."""
    knowing = graph().find_downstream_modules(unknown, as_package=unknown in PACKAGES)
    assert [module for module in knowing if module.startswith("tinker_sidecar.engine")] == []


def test_there_are_no_circles_of_imports() -> None:
    """Those for type checkers alone, and those within functions, count, too."""
    needs: dict[str, set[str]] = {}
    for importer, imported in imports():
        needs.setdefault(importer, set()).add(imported)
    graphlib.TopologicalSorter(needs).prepare()  # Raises `CycleError`, which names the circle.


def test_no_two_classes_have_one_name() -> None:
    classes = Counter(
        node.name
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in classes.items() if count > 1] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_paths_that_a_document_names_exist(document: str) -> None:
    missing = [
        span
        for span in spans((ROOT / document).read_text())
        if re.fullmatch(r"[\w.-]+/[\w./-]*(/|\.(py|md|proto|png))", span)
        and not any((folder / span).exists() for folder in (ROOT, ROOT / "tests"))
    ]
    assert missing == []


def test_a_request_takes_the_way_that_the_page_says() -> None:
    gone = [
        f"{file}: {function}"
        for _, where, functions in table("step", PAGE)
        for file, function in zip(spans(where), spans(functions), strict=True)
        if function not in defined_in(file)
    ]
    assert gone == []


@pytest.mark.parametrize("document", ["docs/architecture.md", "docs/wire-protocol.md"])
def test_names_in_the_code_that_a_document_names_exist(document: str) -> None:
    """Classes, `Class.member`s, and functions that are written as `function()` or begin with `_`."""
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    known = {name for path in files for name in defined_in(str(path))} | set(dir(builtins))
    page = re.sub(r"^```.*?^```$", "", (ROOT / document).read_text(), flags=re.DOTALL | re.MULTILINE)
    names = re.compile(r"_\w+|[A-Z]\w*[a-z]\w*\.\w+|[A-Z][a-z]+[A-Z]\w*|[a-z_]\w*\(\)")
    unknown = {span for span in spans(page) if names.fullmatch(span) and span.removesuffix("()") not in known}
    assert unknown == set()


def test_the_engine_runs_alone(sim_server: LocalServer) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    program = program.replace("http://127.0.0.1:8000", sim_server.base_url)
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("[Reply(call=1, value=SessionInfo(session_id=")


def test_contributing_has_the_whole_map_of_the_tests() -> None:
    folders = {f"tests/{path.parent.name}/" for path in (ROOT / "tests").glob("*/test_*.py")}
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    listed = {span for folder, *_ in table("folder", contributing) for span in spans(folder)}
    assert listed == {*folders, "tests/"}


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, include_external_packages=True, cache_dir=None)


def imports() -> list[tuple[str, str]]:
    """Who imports whom, of our own modules."""
    return [
        (importer, imported)
        for importer in graph().modules
        if importer.startswith(PACKAGES)
        for imported in graph().find_modules_directly_imported_by(importer)
        if imported.startswith(PACKAGES)
    ]


@cache
def room_of(module: str) -> str:
    path = module.replace(".", "/")
    path += "/__init__.py" if (ROOT / path).is_dir() else ".py"
    beginnings = [beginning for beginning in ROOMS if path.startswith(beginning)]
    assert beginnings, f"{path} belongs to no room of docs/architecture.md"
    return ROOMS[max(beginnings, key=len)]


@cache
def defined_in(file: str) -> set[str]:
    """Functions, classes, their members as `Class.member`, and constants."""
    names: set[str] = set()
    for node in ast.parse((ROOT / file).read_text()).body:
        names.update(_names(node))
        if isinstance(node, ast.ClassDef):
            names.update(f"{node.name}.{name}" for member in node.body for name in _names(member))
            names.update(name for member in node.body for name in _names(member))
    return names


def _names(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return {target.id for target in targets if isinstance(target, ast.Name)}
