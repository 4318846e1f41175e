"""Who is compared, and the environment each of them lives in."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version

from tools.official_sdk import python_of, python_with

__all__ = [
    "OFFICIAL",
    "OFFICIAL_INSTALLED",
    "OFFICIAL_NEW",
    "OFFICIAL_SIDECAR",
    "OURS",
    "OURS_PORTABLE",
    "OURS_SIDECAR",
    "PEERS",
    "QUICK_PEERS",
    "Peer",
]


@dataclass(frozen=True)
class Peer:
    """A client library, in one of its modes."""

    name: str
    colour: str
    version: str | None = None
    """Of the official SDK; None for the project itself."""
    sidecar: bool = False
    taken_over: bool = False
    """The official SDK, its sampling in the project's sidecar."""
    portable: bool = False
    """Without what only Linux has, as on a Mac."""

    @property
    def module(self) -> str:
        return "tinker" if self.version else "tinker_client"

    @property
    def python(self) -> str:
        return str(python_of(self.version, ours=self.taken_over)) if self.version else sys.executable

    @property
    def launcher(self) -> list[str]:
        return ["-m", "tinker_client"] if self.taken_over else []

    def environment(self, base_url: str, model: str) -> dict[str, str]:
        """What its process sees: the server, the mode, and nothing of the developer's settings."""
        keep = ("PATH", "HOME", "TMPDIR", "LANG")
        return {name: os.environ[name] for name in keep if name in os.environ} | {
            "BENCHMARK_MODEL": model,
            "HF_HUB_OFFLINE": "1",
            "TINKER_API_KEY": os.environ.get("TINKER_API_KEY", "tml-benchmark"),
            "TINKER_BASE_URL": base_url,
            "TINKER_SIDECAR_PORTABLE": "1" if self.portable else "0",
            "TINKER_SUBPROCESS_SAMPLING": "1" if self.sidecar else "0",
        }

    def install(self) -> None:
        """See that its environment is there, with the grader's sympy.

        Raises
        ------
        subprocess.CalledProcessError
            It cannot be made, for instance because there is no package index.
        """
        if self.version is None:
            return
        python = python_with(self.version, ours=self.taken_over)
        if subprocess.run([python, "-c", "import sympy"], capture_output=True).returncode:
            pip = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
            subprocess.run([*pip, f"sympy=={version('sympy')}"], check=True)


OFFICIAL = Peer("official 0.26.2", "#9a9a9a", "0.26.2")
OFFICIAL_SIDECAR = Peer("official 0.26.2, sidecar", "#d9822b", "0.26.2", sidecar=True)
OFFICIAL_NEW = Peer("official 0.38.0", "#5c5c5c", "0.38.0")
OFFICIAL_INSTALLED = Peer("official 0.38.0, our sidecar", "#3d8f5f", "0.38.0", sidecar=True, taken_over=True)
"""Takes part where it is asked for."""
OURS = Peer("ours, in process", "#7fb2e5")
OURS_SIDECAR = Peer("ours, sidecar", "#0b5cad", sidecar=True)
OURS_PORTABLE = Peer("ours, portable", "#7a5cad", sidecar=True, portable=True)
"""Takes part where it is asked for."""

PEERS = (OFFICIAL, OFFICIAL_SIDECAR, OFFICIAL_NEW, OURS, OURS_SIDECAR)
QUICK_PEERS = (OFFICIAL_SIDECAR, OURS, OURS_SIDECAR)
"""For a smoke, one of the official SDK's modes stands for all."""
