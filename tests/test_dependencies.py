"""What the package needs is declared, what is declared is needed, and what says what to install is right."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.sampling_requirements import REQUIREMENTS, sampling_requirements

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
OWN = PROJECT["name"]

USERS_OWN = {"certifi", "httpx", "pydantic-core", "ray", "tinker", "tml-renderers", "tml-tokenizers", "trio"}
"""Imported only where a program has brought them itself."""
NOT_IMPORTED_BY_US = {"httptools", "py-spy"}
"""uvicorn imports the one for us, and the other is a program."""
ADVISING = {"importing_for", "exit_if_missing", "pip_install"}
"""The functions of `tinker_sidecar.needs`."""


def test_each_import_is_declared() -> None:
    assert imported("tinker_client", "tinker_sidecar", "examples") - USERS_OWN - declared() == set()


def test_each_dependency_is_imported() -> None:
    assert declared() - imported("tinker_client", "tinker_sidecar", "examples") == NOT_IMPORTED_BY_US


def test_uvicorn_imports_httptools_for_us() -> None:
    spec = importlib.util.find_spec("uvicorn.protocols.http.httptools_impl")
    assert spec is not None
    assert spec.origin is not None
    assert "import httptools" in Path(spec.origin).read_text()


def test_all_has_every_extra_but_the_one_that_weighs_more_than_all() -> None:
    (everything,) = map(Requirement, EXTRAS["all"])
    assert everything.name == OWN
    assert everything.extras == set(EXTRAS) - {"all", "hf"}


def test_what_sampling_needs_is_up_to_date() -> None:
    assert REQUIREMENTS.read_text() == sampling_requirements(), "run: python -m tools.sampling_requirements"


def test_what_one_is_told_to_install_exists() -> None:
    told = set(advice())
    assert told
    for requirement in map(Requirement, told):
        if requirement.name == OWN:
            assert requirement.extras <= set(EXTRAS)
        else:
            assert requirement.name in declared() | USERS_OWN


def test_the_readme_of_a_built_package_leads_to_the_repository() -> None:
    """With an address that a clone may have: no token in it gets out."""
    metadata = metadata_of("https://somebody:hunter2@example.org/you/tinker-sidecar.git")
    repository = "https://example.org/you/tinker-sidecar"
    assert metadata["urls"]["Repository"] == repository
    readme = metadata["readme"]["text"]
    targets = re.findall(r"\]\(([^)]+)\)", readme)
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []
    assert f"]({repository}/raw/HEAD/docs/rl_grading_loop.png)" in readme
    assert f"]({repository}/blob/HEAD/docs/performance.md#the-figures)" in readme
    assert "hunter2" not in json.dumps(metadata)


def metadata_of(remote: str) -> dict[str, dict[str, str]]:
    command = [sys.executable, "-m", "hatchling", "metadata"]
    output = subprocess.check_output(
        command, cwd=ROOT, env=os.environ | {"REPOSITORY_URL": remote}, text=True
    )
    metadata: dict[str, dict[str, str]] = json.loads(output)
    return metadata


installed = cache(packages_distributions)


def declared() -> set[str]:
    """The distributions that `pyproject.toml` names for users, and for training the tiny model."""
    lines = [*PROJECT["dependencies"], *PYPROJECT["dependency-groups"]["train"]]
    lines += [line for extra in EXTRAS.values() for line in extra]
    return {canonicalize_name(Requirement(line).name) for line in lines} - {OWN}


@cache
def imported(*folders: str) -> set[str]:
    """The distributions that files below these folders import, wherever in the file."""
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    neighbours = {path.stem for path in (ROOT / "examples").glob("*.py")}
    others = {*sys.stdlib_module_names, *neighbours, "tinker_client", "tinker_sidecar"}
    modules = {
        name
        for path in files
        if "third_party" not in path.parts  # They have their requirements beside them.
        for name in _modules(ast.parse(path.read_text()))
        if name.partition(".")[0] not in others
    }
    return {_distribution(name) for name in modules}


def _modules(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "importlib.import_module":
            yield from (argument.value for argument in node.args if isinstance(argument, ast.Constant))


def _distribution(module: str) -> str:
    # Namespaces are shared: protobuf is the only one of Google's that is used here.
    if module.startswith("google.protobuf"):
        return "protobuf"
    top = module.partition(".")[0]
    return min(canonicalize_name(name) for name in installed().get(top, [top]))


def advice() -> Iterator[str]:
    """What `tinker_sidecar.needs` is given to tell users to install: always the last argument."""
    for folder in ("tinker_client", "tinker_sidecar", "examples"):
        for path in (ROOT / folder).rglob("*.py"):
            calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
            last = [call.args[-1] for call in calls if ast.unparse(call.func) in ADVISING]
            yield from (argument.value for argument in last if isinstance(argument, ast.Constant))
