"""The sidecar process as its parent sees it: start, handshake, death, end."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import select
import stat
import sys
import tempfile
import time
from pathlib import Path
from subprocess import PIPE, Popen

import msgspec

from tinker_client.errors import SidecarStartupError
from tinker_sidecar.ipc.handshake import Greeting, Hello
from tinker_sidecar.ipc.lending import can_borrow
from tinker_sidecar.processes.exits import end, how_it_ended, remove_folder
from tinker_sidecar.processes.interpreter import module_command, module_environment

__all__ = ["SidecarProcess"]

_READY_TIMEOUT = 30.0
_EXIT_TIMEOUT = 1.0
_LONGEST_FOLDER = 90
"""Bytes: an ipc path ends at 107, and the socket's name comes behind the folder's."""
_LAST_WORDS = 2000
_PREFIX = "tinker-sidecar-"
_STARTING = 60.0
"""Seconds: a folder that is younger may belong to a sidecar that has yet to be started."""
_UNKNOWN_USER = 65534
"""In a user namespace, whoever owns what is from outside of it, as `/` and `/tmp` may be."""
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20), "MALLOC_TRIM_THRESHOLD_": str(16 << 20)}
"""For glibc: what large results took goes back to the system, instead of staying in the child's heap."""
_HTTP_THREADS = {"TOKIO_WORKER_THREADS": "1"}
"""For pyqwest: what one thread receives is more than one interpreter can use, and each further thread (by
default one a core) makes every response dearer."""


class SidecarProcess:
    """A running sidecar, ready for connections to the sockets in `folder` by who knows `secret`.

    Raises `SidecarStartupError`, with the child's last words, when it does not come up.
    """

    def __init__(self) -> None:
        self.folder = _make_folder()
        self.secret = secrets.token_hex(16)
        try:
            self._process = self._spawn()
        except Exception as error:
            remove_folder(self.folder)
            raise SidecarStartupError(f"cannot start {sys.executable!r}: {error}") from error
        try:
            self._greet()
        except BaseException:
            # Ctrl-C included: nothing half-started stays behind.
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_fd(self) -> int:
        """Readable once the sidecar has exited."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def describe_exit(self) -> str:
        """How the process ended and what it said last, once `exit_fd` is readable."""
        how = how_it_ended(self._process, _EXIT_TIMEOUT) or "closed its pipe"
        words = self._last_words()
        return f"the sidecar (pid {self.pid}) {how}" + (f"; its last words:\n{words}" if words else "")

    def end(self) -> None:
        """End the process: by closing the pipe it watches or, if that does not do, by force."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        end(self._process, _EXIT_TIMEOUT)

    def close(self) -> None:
        """End the process and remove all it had. May be called again, and on a dead process."""
        self.end()
        assert self._process.stdout is not None
        self._process.stdout.close()
        remove_folder(self.folder)

    def abandon(self) -> None:
        """In a forked child: let go of a process that is the parent's, without touching it."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    os.close(pipe.fileno())
        self._process.returncode = 0  # Not ours to wait for.

    def _spawn(self) -> Popen[bytes]:
        with (Path(self.folder) / "log").open("wb") as log:
            with contextlib.suppress(OSError):  # Not on every file system.
                fcntl.flock(log, fcntl.LOCK_EX)  # The child's from now on, for as long as it lives.
            return Popen(
                module_command("tinker_sidecar"),
                stdin=PIPE,
                stdout=PIPE,
                stderr=log,
                env=_HTTP_THREADS | module_environment() | _MALLOC,
                start_new_session=True,  # A terminal's Ctrl-C and hang-up are for the user's program.
            )

    def _greet(self) -> None:
        hello = Hello(self.folder, self.secret, os.getpid(), can_borrow())
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # It died; reading its pipe tells how.
            self._process.stdin.write(msgspec.json.encode(hello) + b"\n")
            self._process.stdin.flush()
        line = self._read_line()
        if line is None:
            raise SidecarStartupError(
                f"the sidecar (pid {self.pid}) was not ready within {_READY_TIMEOUT:.0f} s; "
                f"its last words: {self._last_words()!r}"
            )
        if not line:
            raise SidecarStartupError(self.describe_exit())
        greeting = msgspec.json.decode(line, type=Greeting)
        if greeting.error is not None:
            raise SidecarStartupError(f"the sidecar could not start: {greeting.error}")

    def _read_line(self) -> bytes | None:
        """The child's greeting; empty when it exited without one, None when it took too long.

        Whatever the user's own start-up files print comes before it.
        """
        deadline = time.monotonic() + _READY_TIMEOUT
        line = b""
        while not line.endswith(b"\n"):
            poll = select.poll()
            poll.register(self.exit_fd, select.POLLIN)
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return None
            part = os.read(self.exit_fd, 4096)
            if not part:
                return b""
            *_, line = (line + part).splitlines(keepends=True)
            if line.endswith(b"\n") and not line.startswith(b"{"):
                line = b""
        return line

    def _last_words(self) -> str:
        try:
            with (Path(self.folder) / "log").open("rb") as log:
                log.seek(0, os.SEEK_END)
                log.seek(max(0, log.tell() - _LAST_WORDS))
                return log.read().decode("utf-8", "replace").strip()
        except OSError:
            return ""


def _make_folder() -> str:
    """A fresh folder only this user may enter, under a path short enough for a socket."""
    reasons = []
    for name in dict.fromkeys((*_temporary_folder(), "/tmp", "/dev/shm", "/var/tmp")):  # noqa: S108
        parent = os.path.realpath(name)
        if not _is_text(parent):
            reasons.append(f"{parent!a}: not UTF-8")
            continue
        if len(os.fsencode(parent)) + len("/tinker-sidecar-12345678") > _LONGEST_FOLDER:
            reasons.append(f"{parent}: too long a path for a socket")
            continue
        try:
            if (danger := _open_to_others(parent)) is not None:
                reasons.append(f"{parent}: {danger}")
                continue
            _sweep(parent)
            return tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
        except OSError as error:
            reasons.append(f"{parent}: {errno.errorcode.get(error.errno or 0, '')} {error.strerror}")
    raise SidecarStartupError("no folder for the sidecar's socket; tried " + "; ".join(reasons))


def _open_to_others(parent: str) -> str | None:
    """What would let others put a folder of theirs in the place of ours, if anything, on the whole way up.

    Where anybody may write, as in `/tmp`, the sticky bit keeps them from it.
    """
    for folder in (Path(parent), *Path(parent).parents):
        found = folder.stat()
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX:
            return f"others may write to {folder}, which has no sticky bit"
        if found.st_uid not in (0, os.geteuid(), _UNKNOWN_USER):
            return f"{folder} is another user's"
    return None


def _sweep(parent: str) -> None:
    """Remove the folders of sidecars that were killed along with their parents, as by a container's end.

    Anybody may put anything there by such a name: only a folder of this user's, no link, is looked into.
    """
    for folder in Path(parent).glob(_PREFIX + "*"):
        with contextlib.suppress(OSError):  # Locked, or gone.
            found = folder.lstat()
            ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
            if ours and time.time() - found.st_mtime > _STARTING:
                _remove_unless_locked(folder)


def _remove_unless_locked(folder: Path) -> None:
    """A sidecar that lives has its log locked. Raises `OSError` if so."""
    log = os.open(folder / "log", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # Else a FIFO would block.
    try:
        if stat.S_ISREG(os.fstat(log).st_mode):
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_folder(str(folder))
    finally:
        os.close(log)


def _temporary_folder() -> list[str]:
    """What `tempfile` would use; nothing on a full disk, where it cannot write a file but a socket may be."""
    try:
        return [tempfile.gettempdir()]
    except FileNotFoundError:
        return []


def _is_text(path: str) -> bool:
    """Whether a path can be told the sidecar and libzmq, who want UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
