"""What removes the folder of a sidecar that Ray kills.

A worker of Ray's that ends, for whatever reason, first kills its children with SIGKILL, the sidecar among
them, and then itself. Neither can tidy up. But Ray spares children of children: the sidecar starts one that
waits for its end.
"""

from __future__ import annotations

import contextlib
import os
import subprocess

__all__ = ["keep_folder"]

_RAY = "RAY_RAYLET_PID"
"""The variable that Ray's workers have."""
_COMMAND = ("/bin/sh", "-c", 'read -r _; rm -f "$0"/*; rmdir "$0"')
"""The name of this process, for a shell, is the folder's. A shell takes less memory than a Python."""


def keep_folder(folder: str) -> subprocess.Popen[bytes] | None:
    """In a sidecar that a worker of Ray's has started: have `folder` removed when this process ends.

    What is returned must be kept until then, since the end of its pipe is taken for the end of this process.
    """
    if _RAY in os.environ:
        with contextlib.suppress(OSError):  # No shell, or no room for it. Whoever comes next tidies up.
            return subprocess.Popen(
                [*_COMMAND, folder],
                stdin=subprocess.PIPE,
                # It must have nothing of ours: who has our stdout tells the program by it that we live.
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
    return None
