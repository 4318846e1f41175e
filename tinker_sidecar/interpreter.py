"""How this project starts Python processes of its own: with the user's interpreter, whatever they run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["module_command", "module_environment"]

_SECRETS = ("TINKER_API_KEY", "TINKER_SIDECAR_SERVE_API_KEY")


def module_command(module: str, *arguments: str) -> list[str]:
    """The command line of `python -m module`.

    A `types.py` or `logging.py` in the user's working folder is not ours to import, hence `-P`.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def module_environment() -> dict[str, str]:
    """This process's environment without its keys, and with the way to this package."""
    environment = {name: value for name, value in os.environ.items() if name not in _SECRETS}
    root = Path(__file__).resolve().parent.parent
    if root.name not in ("site-packages", "dist-packages"):
        # Run from a checkout that is on the path by the user's doing alone.
        paths = (environment.get("PYTHONPATH"), str(root))
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return environment
