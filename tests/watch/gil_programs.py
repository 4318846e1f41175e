"""Programs that hold their GIL, or block their event loop, to be looked at."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["BASE_PYTHON", "HOGS", "REGEX_FOR_EVER", "VERSIONS", "WAITED", "line_of", "python", "running"]

VERSIONS = ("3.11", "3.12", "3.13", "3.14")

BASE_PYTHON = str(Path(sys.executable).resolve())
"""The interpreter that our environment was made with, beside which the environment's scripts are not."""

WAITED = r"results waited \d+\.\d s( of the last \d+\.\d s)? for this program"
"""How each warning begins."""

REGEX_FOR_EVER = """
import re, threading

def grade():
    re.match("(a+)+$", "a" * 60 + "b")

threading.Thread(target=grade, name="grader").start()
"""

HOGS = """
import threading

def add():
    while True:
        sum(range(100))

def join():
    while True:
        " ".join(map(str, range(100)))

def sort():
    while True:
        sorted(range(100, 0, -1))

def count():
    number = 0
    while True:
        number += 1
        number -= 1

for function in (add, join, sort, count):
    threading.Thread(target=function, name=f"hog {function.__name__}").start()
"""


def line_of(code: str, text: str) -> int:
    """The number of the line of `code` that has `text` in it, from 1."""
    return code[: code.index(text)].count("\n") + 1


@functools.cache
def python(version: str) -> str | None:
    """An interpreter of this version: ours, one on `PATH`, or one that pyenv keeps; None: there is none."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{version}"), *map(str, kept.glob(f"{version}.*/bin/python"))]
    return next((it for it in candidates if it is not None and _is_of(it, version)), None)


@contextmanager
def running(
    folder: Path, name: str, code: str, interpreter: str = sys.executable
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs `code` from a file called `name`; killed in the end."""
    (folder / name).write_text(code)
    with subprocess.Popen(
        [interpreter, str(folder / name)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=folder
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _is_of(interpreter: str, version: str) -> bool:
    """A name on `PATH` may be a version manager's, and run nothing."""
    command = [interpreter, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() == version
