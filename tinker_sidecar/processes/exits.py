"""How processes that this project started come to their end.

Guards for generated code, as graders use them, set `os.kill`, `os.unlink` or `subprocess.Popen` to None in
their own process. What the end needs is therefore looked up here, at import, and not when it is called.
`tests/reliability/test_guarded_programs.py` fails if something is forgotten.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
from os import WNOHANG, listdir, rmdir, unlink, waitpid, waitstatus_to_exitcode
from os import kill as send_signal
from time import monotonic, sleep

__all__ = ["end", "how_it_ended", "remove_folder"]

_LOOK_AGAIN = 0.002
_LOST = 256
"""As a `returncode`: statuses end at 255."""


def how_it_ended(process: subprocess.Popen[bytes], patience: float) -> str | None:
    """Wait `patience` seconds for the end of `process`, and say how it was; None: it runs on.

    It asks `waitpid` itself, again and again, since `Popen.wait` says 0 where the status is lost: where
    `SIGCHLD` is ignored, or somebody else in this program has waited for the process.
    """
    deadline = monotonic() + patience
    while process.returncode is None:
        try:
            pid, status = waitpid(process.pid, WNOHANG)
        except ChildProcessError:
            process.returncode = _LOST
            break
        if pid:
            process.returncode = waitstatus_to_exitcode(status)
        elif monotonic() > deadline:
            return None
        else:
            sleep(_LOOK_AGAIN)
    return _describe(process.returncode)


def end(process: subprocess.Popen[bytes], patience: float, number: signal.Signals | None = None) -> None:
    """Wait for the end of `process`, which is sent signal `number` if any, and kill it after `patience`."""
    may = number is None or _send(process, number)
    if may and how_it_ended(process, patience) is None and _send(process, signal.SIGKILL):
        how_it_ended(process, patience)


def remove_folder(folder: str) -> None:
    """Remove a folder of files, if it is there and ours.

    One that is empty can be removed by a process that has no descriptor left, too: to list it takes one.
    """
    with contextlib.suppress(OSError):
        names = listdir(folder)  # noqa: PTH208  # `Path` looks for all three when it is called.
        # The log last: what is left if this process is killed meanwhile is known by it as a sidecar's.
        for name in sorted(names, key="log".__eq__):
            unlink(f"{folder}/{name}")  # noqa: PTH108
    with contextlib.suppress(OSError):
        rmdir(folder)  # noqa: PTH106


def _send(process: subprocess.Popen[bytes], number: signal.Signals) -> bool:
    """Send a signal unless the process has ended; False: we may not, having become another user meanwhile."""
    if how_it_ended(process, 0) is None:
        try:
            send_signal(process.pid, number)
        except PermissionError:
            return False
    return True


def _describe(code: int) -> str:
    if code == _LOST:
        return "ended, its status lost: SIGCHLD is ignored here, or something else has waited for it"
    if code >= 0:
        return f"exited with status {code}"
    return f"was killed by {_signal_name(-code)}"


def _signal_name(number: int) -> str:
    """`SIGKILL`, or the number; of the real-time signals only the first and the last have names."""
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    first = getattr(signal, "SIGRTMIN", number)  # Not on macOS.
    return f"signal {number}" + (f" (SIGRTMIN+{number - first})" if number > first else "")
