"""What the Python threads of another process are doing, as py-spy sees them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import sysconfig
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

import msgspec

from tinker_sidecar.needs import pip_install

__all__ = ["CannotLook", "SeenFrame", "SeenThread", "find_py_spy", "look_at", "look_seconds"]

_PATIENCE = 5.0
"""Seconds that one look may take. On an idle machine it takes 50 ms."""

_YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")
"""Where Linux says who may look into whose memory, if it is asked to restrict that at all."""

_DENIED = (b"permission denied", b"operation not permitted", b"elevated permissions")
"""What py-spy writes, in lower case, where the system does not let it look."""


class SeenFrame(msgspec.Struct, frozen=True):
    """A function call that a thread is in."""

    name: str
    """The function's, qualified as Python does it, from 3.11 on."""
    filename: str
    line: int = 0
    """0: not known."""
    short_filename: str | None = None
    """The file's path within its package."""


class SeenThread(msgspec.Struct, frozen=True):
    """A thread, at the moment of the look. The names are py-spy's."""

    owns_gil: bool
    frames: list[SeenFrame]
    """The innermost call first."""
    thread_name: str | None = None
    os_thread_id: int | None = None


class CannotLook(Exception):  # noqa: N818  # It is an answer, which the caller words.
    """There is no telling what the threads do.

    Attributes
    ----------
    lasts
        Whether the next try is likely to fail, too. If not, the process, which is not stopped for a look, may
        have changed meanwhile.
    """

    def __init__(self, reason: str, *, lasts: bool) -> None:
        super().__init__(reason)
        self.lasts = lasts


_decode = msgspec.json.Decoder(list[SeenThread]).decode


async def look_at(pid: int) -> list[SeenThread]:
    """All Python threads of process `pid`, which is not stopped for it.

    Raises `CannotLook`, whose text says why and what helps.
    """
    py_spy = find_py_spy()
    if py_spy is None:
        raise CannotLook(f"py-spy is not installed: {pip_install('tinker-sidecar[who]')}", lasts=True)
    try:
        status, output, errors = await _run(py_spy, "dump", "--pid", str(pid), "--nonblocking", "--json")
    except TimeoutError:
        raise CannotLook(f"py-spy took longer than {_PATIENCE:g} s", lasts=True) from None
    except OSError as error:
        raise CannotLook(f"cannot run {py_spy}: {error}", lasts=True) from error
    if status != 0:
        raise _failure(errors)
    try:
        return _decode(output)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CannotLook(f"cannot make sense of what py-spy says: {error}", lasts=False) from error


def find_py_spy() -> str | None:
    """The command's path: beside this interpreter, among its environment's scripts, or else on `PATH`."""
    from shutil import which  # Slow to import, and rarely needed.

    folders = [str(Path(sys.executable).parent), sysconfig.get_path("scripts")]
    return which("py-spy", path=os.pathsep.join([*folders, os.environ.get("PATH", os.defpath)]))


def look_seconds() -> float:
    """The CPU time of all children of this process that have ended, to tell what a look has cost."""
    import resource  # Windows has none, and imports this module.

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def _run(*command: str) -> tuple[int, bytes, bytes]:
    """The exit status of `command`, what it wrote to its standard output, and to its standard error."""
    process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    try:
        async with asyncio.timeout(_PATIENCE):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return process.returncode or 0, output, errors


def _failure(errors: bytes) -> CannotLook:
    if any(denied in errors.lower() for denied in _DENIED):
        return CannotLook(_how_to_permit(), lasts=True)
    return CannotLook(f"py-spy failed: {errors.decode(errors='replace').strip()[:500]}", lasts=False)


def _how_to_permit() -> str:
    """That py-spy is not permitted to look, and what may help here."""
    if sys.platform == "darwin":
        return "py-spy is not permitted to look at this program: on macOS only root is"
    if _yama_scope() > 1:
        return (
            "py-spy is not permitted to look at this program: only root is, with kernel.yama.ptrace_scope "
            "above 1 (1 is enough)"
        )
    return (
        "py-spy is not permitted to look at this program: that takes the same user and, in some containers, "
        "the capability SYS_PTRACE (docker run --cap-add SYS_PTRACE)"
    )


def _yama_scope() -> int:
    try:
        return int(_YAMA.read_text())
    except (OSError, ValueError):
        return 0
