"""Running a program, unchanged, with the official SDK's sampling in the sidecar."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import NoReturn

from tinker_client.config import (
    DEFAULT_BASE_URL,
    SubprocessSampling,
    checked_base_url,
    subprocess_sampling,
)
from tinker_client.errors import TinkerError
from tinker_client.local import keep_through_exec
from tinker_client.official.local_server import provide_local_server
from tinker_client.official.warning import required, warn_once

__all__ = ["USAGE", "interpreter_options", "launch"]

USAGE = """\
usage: python -m tinker_client [script.py | -m module] [arguments ...]

Runs a program that uses the official Tinker SDK as `python` would, with its sampling in the sidecar
if TINKER_SUBPROCESS_SAMPLING=1 is set. Processes that the program starts do the same.
With TINKER_BASE_URL=local they all share a server on this machine, which ends with the program."""

_SITE = Path(__file__).with_name("site")
_PACKAGES = Path(__file__).parents[2]


def launch(arguments: list[str], *, options: list[str] | None = None) -> NoReturn:
    """Become `python arguments`, with interpreter `options`, in which `install` follows `import tinker`.

    A new interpreter, in this process's place: so to the program everything is as under plain Python, from
    `sys.argv` to its exit status, and what it starts inherits the environment.
    """
    if not sys.executable:
        raise SystemExit("tinker_client: cannot tell where the Python interpreter is")
    if sys.flags.ignore_environment or sys.flags.no_site:
        raise SystemExit(
            "tinker_client: cannot do anything under python -E, -I or -S: use install() in the script"
        )
    try:
        sampling = subprocess_sampling()
        required()  # Called for its error, which the program would only stumble over in `import tinker`.
        is_local = provide_local_server()
        _say_what_is_amiss(sampling=sampling, is_local=is_local)
    except TinkerError as error:
        raise SystemExit(f"tinker_client: {error}") from None
    os.environ["PYTHONPATH"] = _python_path()
    keep_through_exec()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *(options or ()), *arguments])  # noqa: S606


def interpreter_options() -> list[str]:
    """Those of `python -W error -m tinker_client ...`, for the program's interpreter."""
    before = sys.orig_argv[1:]
    return before[: next((i for i, option in enumerate(before) if option.startswith("-m")), 0)]


def _say_what_is_amiss(*, sampling: SubprocessSampling, is_local: bool) -> None:
    """Warn of what would make the launcher useless, or the program wait long for a server that is none."""
    try:
        checked_base_url(os.environ.get("TINKER_BASE_URL") or DEFAULT_BASE_URL)
    except TinkerError as error:
        warn_once(f"TINKER_BASE_URL names no server: {error}")
    if is_local and not sampling:
        return  # The local server is what the launcher is for.
    if importlib.util.find_spec("tinker") is None:
        warn_once("the official SDK, `tinker`, is not installed in this environment: nothing to take over")
    elif not os.environ.get("TINKER_SUBPROCESS_SAMPLING"):
        warn_once(
            "TINKER_SUBPROCESS_SAMPLING is not set: unless the program sets it before `import tinker`, "
            "the official SDK samples by itself"
        )


def _python_path() -> str:
    """This environment's `PYTHONPATH` with our `sitecustomize` before all, and this package behind."""
    paths = [str(_SITE), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    if _PACKAGES.name not in ("site-packages", "dist-packages"):
        paths.append(str(_PACKAGES))  # Run from a checkout.
    return os.pathsep.join(dict.fromkeys(paths))
