"""How this project starts Python processes of its own: with the user's interpreter, whatever they run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection
from os import __file__ as os_file
from os import environ, getcwd
from pathlib import Path

__all__ = ["LOCAL_SERVER", "module_command", "module_environment"]

LOCAL_SERVER = "_TINKER_SIDECAR_LOCAL_SERVER"
"""The variable that tells a program's processes of its local server: the address, a space, and the key."""

_SECRETS = ("TINKER_API_KEY", "TINKER_SIDECAR_SERVE_API_KEY", LOCAL_SERVER)

_ADVICE = (
    "That is no Python interpreter to start another process with. None is needed to sample without "
    "TINKER_SUBPROCESS_SAMPLING, from a server that is started elsewhere"
)

_STANDARD_LIBRARY = str(Path(os_file).parent)

_SEARCH_PATH = "_TINKER_SIDECAR_SEARCH_PATH"
"""The variable that tells a child where to look for modules, a folder a line.

The child unsets it. A process that has it set is therefore no child of ours, but the user's program, which
ignored the arguments that would have made an interpreter of it, as a frozen program does.
"""

_BOOTSTRAP = (
    "import os, sys; "
    rf"sys.path[:0] = os.environ.pop('{_SEARCH_PATH}').split('\n'); "
    # The first folder is there for this one package, and may hold others of other versions.
    "import tinker_sidecar; del sys.path[0]; "
    "import runpy; del sys.argv[:2]; runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)


def module_command(module: str, *arguments: str) -> list[str]:
    """The command line of `python -m module` with this interpreter's options and search path.

    The process has to be given `module_environment`. Python would look for modules in the working folder
    first, where a `types.py` or `logging.py` of the user's may lie; `-P` keeps it from that. Raises
    `RuntimeError` where there is no interpreter.
    """
    if _SEARCH_PATH in environ:
        raise RuntimeError(
            f"{sys.executable!r} has run this program again, started as an interpreter. {_ADVICE}"
        )
    if not sys.executable or getattr(sys, "frozen", False):
        raise RuntimeError(f"sys.executable is {sys.executable!r}, and this program frozen. {_ADVICE}")
    # As multiprocessing starts its children; private, and so unknown to the stubs.
    options = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return [sys.executable, *options, "-P", "-c", _BOOTSTRAP, "-m", module, *arguments]


def module_environment(only: Collection[str] | None = None) -> dict[str, str]:
    """This process's environment without its keys, and with the way to this package and what it needs.

    Or `only` the variables of these names.
    """
    root = str(Path(__file__).resolve().parents[2])
    ours = {_SEARCH_PATH: "\n".join([root, *_search_path()])}
    kept = environ.keys() - _SECRETS if only is None else environ.keys() & only
    return {name: environ[name] for name in kept} | ours


def _search_path() -> list[str]:
    """This process's, with the standard library first and what lies beside the user's script last.

    So no module of the user's takes the place of one that the child needs: not a `types.py`, which
    `PYTHONPATH` would put before the standard library, nor a `click.py` that is not the library of that name.
    """
    working_folder = _working_folder()
    script = getattr(sys.modules.get("__main__"), "__file__", None) or ""
    last = {working_folder, str(Path(working_folder, script).parent)}

    def rank(folder: str) -> int:
        if folder == _STANDARD_LIBRARY or folder.endswith("/lib-dynload"):
            return 0
        return 2 if folder in last else 1

    folders = [Path(working_folder, folder) for folder in sys.path if isinstance(folder, str)]
    return sorted((str(folder) for folder in folders if folder.is_absolute()), key=rank)


def _working_folder() -> str:
    try:
        return getcwd()  # noqa: PTH109  # Of `os` at import: some programs take it from themselves.
    except OSError:  # It is gone.
        return ""
