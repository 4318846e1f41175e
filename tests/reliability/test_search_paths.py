"""Packages that are found only by what a program has put on its `sys.path`: the sidecar finds them, too."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import zmq

import tinker_sidecar
from tests.reliability.programs import Launch, in_each_host

CHECKOUT = str(Path(tinker_sidecar.__file__).parents[1])
PACKAGES = str(Path(zmq.__file__).parents[1])

SAMPLE = """
sample(connect(), range(20))
say("sampled")
"""

LOCAL = """
client = ServiceClient(base_url="local").create_sampling_client(base_model="tinker-sidecar/sim")
sample(client, range(20))
say("sampled")
"""


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter that has nothing but the standard library."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return str(folder / "bin" / "python")


INSERT = f"import sys; sys.path[:0] = {[CHECKOUT, PACKAGES]!r}\n"
WAYS = {
    "inserted": ((), INSERT),
    "appended": ((), f"import sys; sys.path += {[CHECKOUT, PACKAGES]!r}\n"),
    "addsitedir": ((), f"import site; site.addsitedir({CHECKOUT!r}); site.addsitedir({PACKAGES!r})\n"),
    "inserted under -I": (("-I",), INSERT),
    "inserted under -S": (("-S",), INSERT),
}


@pytest.mark.parametrize(("options", "before"), WAYS.values(), ids=WAYS)
@in_each_host
@pytest.mark.parametrize("code", [SAMPLE, LOCAL], ids=["a server", "its own server"])
def test_packages(
    launch: Launch,
    bare_python: str,
    tmp_path: Path,
    options: tuple[str, ...],
    before: str,
    code: str,
    sidecar: bool | str,
) -> None:
    program = launch(
        code,
        python=(bare_python, *options),
        before=before,
        cwd=tmp_path,
        sidecar=sidecar,
        variables={"TINKER_SIDECAR_LOCAL_ENGINE": "sim", "PYTHONPATH": None},
    )
    program.expect("sampled")
    program.assert_ends_well()


def test_ours_within_an_archive(launch: Launch, bare_python: str, tmp_path: Path) -> None:
    archive = tmp_path / "program.pyz"
    with zipfile.ZipFile(archive, "w") as zipped:
        for package in ("tinker_client", "tinker_sidecar"):
            for file in (Path(CHECKOUT) / package).rglob("*.py"):
                zipped.write(file, file.relative_to(CHECKOUT))
    before = f"import sys; sys.path[:0] = {[str(archive), PACKAGES]!r}\n"
    program = launch(SAMPLE, python=(bare_python,), before=before, cwd=tmp_path)
    program.expect("sampled")
    program.assert_ends_well()


@pytest.mark.skipif(
    os.environ.get("TINKER_SIDECAR_PORTABLE") == "1",
    reason="the portable twin asks psutil in the user's process, which finds these modules",
)
def test_modules_beside_the_script_are_not_the_sidecars(
    launch: Launch, bare_python: str, tmp_path: Path
) -> None:
    """Neither those named as the standard library's are, nor as those of packages that only it imports."""
    for module in ("types", "logging", "re", "resource", "click", "typer", "uvloop"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('not meant to be imported')")
    before = f"import sys; sys.path[:] = [*sys.path[1:], {CHECKOUT!r}, {PACKAGES!r}]\n"
    code = f"sys.path.insert(0, {str(tmp_path)!r})\n{SAMPLE}{LOCAL}"
    program = launch(
        code,
        python=(bare_python,),
        before=before,
        cwd=tmp_path,
        variables={"TINKER_SIDECAR_LOCAL_ENGINE": "sim"},
    )
    program.expect("sampled")
    program.expect("sampled")
    program.assert_ends_well()
