"""The sidecars that run, for tests and tools."""

from __future__ import annotations

from pathlib import Path

import psutil

__all__ = ["SHARED", "sidecars_in"]

OWN, SHARED = "tinker_sidecar", "tinker_sidecar.hub"


def sidecars_in(temporary: Path, *kinds: str) -> list[psutil.Process]:
    """Those alive, of any kind or these, whose temporary folder it is, whoever their parent is by now."""
    wanted = kinds or (OWN, SHARED)
    return [process for process in psutil.process_iter() if _is_one(process, str(temporary), wanted)]


def _is_one(process: psutil.Process, temporary: str, kinds: tuple[str, ...]) -> bool:
    try:
        return (
            process.status() != psutil.STATUS_ZOMBIE
            and process.cmdline()[-1:] in ([kind] for kind in kinds)
            and process.environ().get("TMPDIR") == temporary
        )
    except psutil.Error:
        return False
