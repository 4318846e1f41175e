"""The sidecar process as its parent sees it: start, handshake, death, end."""

from __future__ import annotations

import os
import sys

import msgspec

from tinker_client.connection.socket_folder import create_locked_log, make_socket_folder, open_log
from tinker_client.errors import SidecarStartupError
from tinker_sidecar.ipc.handshake import Greeting, Hello
from tinker_sidecar.ipc.watching import Watching
from tinker_sidecar.processes.child import ChildProcess, last_words
from tinker_sidecar.processes.exits import remove_folder
from tinker_sidecar.system import MEMORY_VARIABLES, can_borrow

__all__ = ["SidecarProcess"]

_READY_TIMEOUT = 30.0
_EXIT_TIMEOUT = 1.0
_GREETING = b'{"error":'
"""How a `Greeting` begins; what else a Python may print when it starts does not."""


class SidecarProcess:
    """A running sidecar, ready for connections to the sockets in `folder` by who knows `secret`.

    Raises `SidecarStartupError`, with the child's last words, when it does not come up.
    """

    def __init__(self, watching: Watching) -> None:
        self._watching = watching
        self.folder = make_socket_folder()
        self.secret = os.urandom(16).hex()
        try:
            self._child = self._start()
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
        """The sidecar's process id."""
        return self._child.pid

    @property
    def exit_fd(self) -> int:
        """Readable once the sidecar has exited."""
        return self._child.exit_fd

    def describe_exit(self) -> str:
        """How the process ended and what it said last, once `exit_fd` is readable."""
        how = self._child.how_it_ended(_EXIT_TIMEOUT) or "closed its pipe"
        words = self._last_words()
        return f"the sidecar (pid {self.pid}) {how}" + (f"; its last words:\n{words}" if words else "")

    def end(self) -> None:
        """End the process: by closing the pipe it watches or, if that does not do, by force."""
        self._child.end(_EXIT_TIMEOUT)

    def close(self) -> None:
        """End the process and remove all it had. May be called again, and on a dead process."""
        self.end()
        self._child.close()
        remove_folder(self.folder)

    def abandon(self) -> None:
        """In a forked child: let go of a process that is the parent's, without touching it."""
        self._child.abandon()

    def _start(self) -> ChildProcess:
        with create_locked_log(self.folder) as log:
            return ChildProcess("tinker_sidecar", errors=log, variables=MEMORY_VARIABLES)

    def _greet(self) -> None:
        hello = Hello(self.folder, self.secret, os.getpid(), can_borrow(), self._watching)
        self._child.write(msgspec.json.encode(hello) + b"\n")
        try:
            line = self._child.first_line(_GREETING, _READY_TIMEOUT)
        except TimeoutError:
            raise SidecarStartupError(
                f"the sidecar (pid {self.pid}) was not ready within {_READY_TIMEOUT:.0f} s; "
                f"its last words: {self._last_words()!r}"
            ) from None
        if not line:
            raise SidecarStartupError(self.describe_exit())
        greeting = msgspec.json.decode(line, type=Greeting)
        if greeting.error is not None:
            raise SidecarStartupError(f"the sidecar could not start: {greeting.error}")

    def _last_words(self) -> str:
        try:
            with open_log(self.folder) as log:
                return last_words(log)
        except OSError:
            return ""
