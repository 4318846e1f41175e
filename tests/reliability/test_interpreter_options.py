"""The sidecar's Python is started as the program's own was; where there is no Python, one error says so."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import tinker_sidecar
from tests.reliability.programs import Launch, in_each_host

CHECKOUT = str(Path(tinker_sidecar.__file__).parents[1])
BEFORE = f"import sys; sys.path.insert(0, {CHECKOUT!r})\n"

SAMPLE = """
sample(connect(), range(20))
say("sampled")
go_on()
"""

OPTIONS = {
    "-I": ("-I",),
    "-E": ("-E",),
    "-s": ("-s",),
    "-P": ("-P",),
    "-X utf8": ("-X", "utf8"),
    "-W ignore": ("-Wignore",),
    "-W error": ("-Werror",),
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_options(launch: Launch, options: tuple[str, ...]) -> None:
    program = launch(SAMPLE, python=(sys.executable, *options), before=BEFORE)
    program.expect("sampled")
    [sidecar] = program.sidecars()
    started_with = sidecar.cmdline()[1 : sidecar.cmdline().index("-c")]
    assert " ".join(options) in " ".join(started_with)
    program.go_on()

    program.assert_ends_well()


@in_each_host
def test_isolated_from_a_hostile_python_path(
    launch: Launch, temporary: Path, tmp_path: Path, sidecar: bool | str
) -> None:
    mark = temporary / "hostile"
    for module in ("sitecustomize", "zmq", "uvloop", "typer"):
        (tmp_path / f"{module}.py").write_text(f"open({str(mark)!r}, 'w')")
    program = launch(
        SAMPLE.replace("connect()", "connect(base_url='local')"),
        python=(sys.executable, "-I"),
        before=BEFORE,
        sidecar=sidecar,
        variables={"PYTHONPATH": str(tmp_path), "TINKER_SIDECAR_LOCAL_ENGINE": "sim"},
    )
    program.expect("sampled")
    program.go_on()

    program.assert_ends_well()
    assert not mark.exists()


NO_INTERPRETER = """
from tinker_client import SidecarStartupError
{}
for _ in range(2):
    try:
        connect()
    except SidecarStartupError as error:
        say("no Python interpreter" in str(error))
"""

NO_INTERPRETERS = {"none": "sys.executable = None", "the program itself": "sys.frozen = True"}


@pytest.mark.parametrize("what", NO_INTERPRETERS.values(), ids=NO_INTERPRETERS)
def test_no_interpreter(launch: Launch, what: str) -> None:
    program = launch(NO_INTERPRETER.format(what))
    program.expect("True")
    program.expect("True")

    program.assert_ends_well()


# A program that does not say that it is frozen, and pays no heed to what Python is told.
UNKNOWINGLY_FROZEN = """
from pathlib import Path
from tinker_client import SidecarStartupError
folder = Path(os.environ["TMPDIR"])
(folder / "program.py").write_text(sys.orig_argv[-1])
(folder / "frozen").write_text(f"#!/bin/sh\\nexec {sys.executable} {folder}/program.py")
(folder / "frozen").chmod(0o700)
sys.executable = str(folder / "frozen")
with (folder / "started").open("a") as started:
    started.write("once ")
try:
    connect(api_key="tml-tests")  # A child of ours is not told the variable.
except SidecarStartupError as error:
    sys.exit(str(error))
"""


def test_a_program_that_would_start_itself_again_and_again(launch: Launch, temporary: Path) -> None:
    program = launch(UNKNOWINGLY_FROZEN, variables={"PYTHONPATH": CHECKOUT})
    ending = program.wait()

    assert ending.status == 1
    assert "has run this program again, started as an interpreter" in ending.errors
    assert (temporary / "started").read_text() == "once once "
    program.assert_nothing_left()
