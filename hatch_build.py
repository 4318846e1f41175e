"""What a built package says of itself and that depends on where its repository lives.

The README is shown where its neighbours are not, such as on a package index, so its images and links get the
repository's address in front. That is `REPOSITORY_URL` or where the checkout was cloned from; where
neither is known, the README stays as it is and there are no project URLs.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

__all__ = ["RepositoryHook"]

# An ssh address becomes a web address, and a token in an address stays out.
_REMOTE = re.compile(r"(?:https?://(?:[^@/]*@)?|(?:ssh://)?git@)([\w.-]+)[:/](.+?)(?:\.git)?/?")
_TO_A_NEIGHBOUR = re.compile(r"(!?)(\[[^]\n]*\])\((?!https?:|#|mailto:)([^)\s]+)\)")


class RepositoryHook(MetadataHookInterface):
    """Sets the README and the project's URLs."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Called by hatchling."""
        readme = Path(self.root, "README.md").read_text()
        if (address := _address(self.root)) is not None:
            readme = _TO_A_NEIGHBOUR.sub(
                lambda link: f"{link[1]}{link[2]}({address}/{'raw' if link[1] else 'blob'}/HEAD/{link[3]})",
                readme,
            )
            metadata["urls"] = {
                "Repository": address,
                "Documentation": f"{address}/tree/HEAD/docs",
                "Changelog": f"{address}/blob/HEAD/CHANGELOG.md",
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": readme}


def _address(root: str) -> str | None:
    remote = os.environ.get("REPOSITORY_URL") or _cloned_from(root)
    match = _REMOTE.fullmatch(remote)
    return f"https://{match[1]}/{match[2]}" if match else None


def _cloned_from(root: str) -> str:
    if not Path(root, ".git").exists():
        return ""  # A repository further up would be somebody else's.
    try:
        run = subprocess.run(
            ["git", "-C", root, "remote", "get-url", "origin"], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""  # No git here.
    return run.stdout.strip()
