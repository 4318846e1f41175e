"""Run by every Python that the launcher starts, and by their children: `install` follows `import tinker`.

Python imports `sitecustomize` from the first folder on its path that has one, so this one goes on to import
the one that it hides. It must be quick and do no harm, whatever program comes next.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

_FOLDER = __file__.rpartition("/")[0]


class _WhenImported:
    """Finds `tinker` as others would, and has `install` called after it."""

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "tinker":
            return None
        sys.meta_path.remove(cls)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            sys.meta_path.insert(0, cls)  # It may be on the path later.
            return spec
        load = spec.loader.exec_module

        def load_and_install(module: ModuleType) -> None:
            load(module)
            _install()

        spec.loader.exec_module = load_and_install  # type: ignore[method-assign]
        return spec


def _install() -> None:
    try:
        from tinker_client.official import install
    except ImportError as error:
        print(f"tinker_client: sampling is left to the official SDK: {error}", file=sys.stderr)
    else:
        install()


def _import_the_hidden_one() -> None:
    sys.path[:] = [folder for folder in sys.path if folder != _FOLDER]
    ours = sys.modules.pop(__name__)
    try:
        importlib.import_module(__name__)
    except ModuleNotFoundError as error:
        if error.name != __name__:
            raise
        sys.modules[__name__] = ours


if __name__ == "sitecustomize":
    sys.meta_path.insert(0, _WhenImported)
    _import_the_hidden_one()
