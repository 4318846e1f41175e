"""The sidecar that this process shares with others of its user: found, or started, and attached to."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Callable
from time import monotonic, sleep

import msgspec

from tinker_client.connection.meeting_place import MeetingPlace, NotSharedError
from tinker_client.connection.socket_folder import remove_left_folders
from tinker_client.errors import SidecarStartupError
from tinker_sidecar.ipc.shared import ATTACH, EXITING, LOG, LONGEST_LINE, Attach, Attached, HubHello, Started
from tinker_sidecar.ipc.watching import Watching
from tinker_sidecar.processes.child import ChildProcess, last_words
from tinker_sidecar.system import MEMORY_VARIABLES, can_borrow

__all__ = ["SharedSidecar"]

_PATIENCE = 30.0
"""Seconds that it may take until we are attached."""
_FAREWELL = 1.0
"""Seconds that the sidecar has to close what it keeps for us, such as a trace, when we leave."""
_AGAIN = 0.01
_STARTED = b'{"error":'
"""How `Started` begins; what else a Python may print when it starts does not."""
_KEPT = (
    *("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "XDG_RUNTIME_DIR", "LD_LIBRARY_PATH"),
    *("SSL_CERT_DIR", "PYTHONHOME", "VIRTUAL_ENV", "USER", "LOGNAME", "SYSTEMROOT"),
)
"""What a shared sidecar has of its starter's environment: it outlives that, and keeps none of its secrets."""


class SharedSidecar:
    """A sidecar that is shared, with sockets of our own in `folder` for who knows `secret`.

    `is_exiting` says whether this process is about to end. Raises `NotSharedError` if there can be none, and
    `SidecarStartupError` if it does not start.
    """

    def __init__(self, watching: Watching, group: str, linger: float, is_exiting: Callable[[], bool]) -> None:
        self._owner = os.getpid()
        self._is_exiting = is_exiting
        self._place = MeetingPlace(group)
        self._connection, attached = _attach(self._place, watching, linger)
        self.pid, self.folder, self.secret = attached.pid, attached.folder, attached.secret

    @property
    def exit_fd(self) -> int:
        """Readable once the sidecar has ended, or this has."""
        return self._connection.fileno()

    def describe_exit(self) -> str:
        """What is known of its end."""
        words = _last_words(self._place)
        return f"the shared sidecar (pid {self.pid}) has ended" + (
            f"; its last words:\n{words}" if words else ""
        )

    def end(self) -> None:
        """Detach. The sidecar drops what we had there, which its end of the connection tells, and goes on
        for others.
        """
        if os.getpid() == self._owner:
            with contextlib.suppress(OSError, ValueError):  # It is closed already, there or here.
                if self._is_exiting():
                    self._connection.send(EXITING)
                self._connection.shutdown(socket.SHUT_WR)
                has_dropped_it = select.poll()
                has_dropped_it.register(self._connection, select.POLLIN)
                has_dropped_it.poll(_FAREWELL * 1000)
                self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Detach, and close the connection. May be called again."""
        self.end()
        self._connection.close()

    def abandon(self) -> None:
        """In a forked child: let go of what is the parent's, without touching it."""
        self._connection.close()


def _attach(place: MeetingPlace, watching: Watching, linger: float) -> tuple[socket.socket, Attached]:
    deadline = monotonic() + _PATIENCE
    while True:
        if (attached := _present(place, watching, deadline)) is not None:
            return attached
        with place.locked(deadline) as is_there:
            if not is_there:
                place.make()
            elif not _answers(place):
                _start(place, linger)
        if monotonic() > deadline:
            raise NotSharedError(f"it did not let this process attach within {_PATIENCE:.0f} s")
        sleep(_AGAIN)


def _answers(place: MeetingPlace) -> bool:
    """Whether a sidecar listens here: somebody else may have started it meanwhile."""
    try:
        _connect(place).close()
    except OSError:
        return False
    return True


def _connect(place: MeetingPlace) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(_PATIENCE)
        connection.connect(str(place.folder / ATTACH))
    except BaseException:
        connection.close()
        raise
    return connection


def _present(
    place: MeetingPlace, watching: Watching, deadline: float
) -> tuple[socket.socket, Attached] | None:
    """Tell the sidecar who we are, and hear where our sockets are. None: there is none that listens."""
    try:
        connection = _connect(place)
    except OSError:
        return None
    try:
        connection.sendall(msgspec.json.encode(Attach(can_borrow(), watching)) + b"\n")
        connection.settimeout(max(0.1, deadline - monotonic()))
        line = _line(connection)
        attached = msgspec.json.decode(line, type=Attached) if line else None
    except TimeoutError:
        connection.close()
        raise NotSharedError(f"the one in {place.folder} does not answer") from None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        attached = None  # It is ending.
    except BaseException:
        connection.close()
        raise
    if attached is None or attached.error is not None:
        connection.close()
    if attached is None:
        return None
    if attached.error is not None:
        raise NotSharedError(attached.error)
    return connection, attached


def _line(connection: socket.socket) -> bytes:
    """What comes until the end of a line; nothing if the end of all comes first."""
    received = b""
    while not received.endswith(b"\n") and len(received) < LONGEST_LINE:
        part = connection.recv(4096)
        if not part:
            return b""
        received += part
    return received


def _start(place: MeetingPlace, linger: float) -> None:
    """Start one, and wait until it listens. Under the lock."""
    place.check_starts()
    remove_left_folders(str(place.folder.parent))
    with contextlib.suppress(FileNotFoundError):
        (place.folder / ATTACH).unlink()
    try:
        with (place.folder / LOG).open("wb") as log:
            child = ChildProcess("tinker_sidecar.hub", errors=log, variables=MEMORY_VARIABLES, only=_KEPT)
    except (OSError, RuntimeError) as error:
        raise SidecarStartupError(f"cannot start a shared sidecar: {error}") from error
    place.count_start()
    try:
        child.write(msgspec.json.encode(HubHello(str(place.folder), linger, place.protocol)) + b"\n")
        line = child.first_line(_STARTED, _PATIENCE)
    except TimeoutError:
        raise SidecarStartupError(f"the shared sidecar was not ready within {_PATIENCE:.0f} s") from None
    finally:
        # The child has ended: the sidecar is its child, and nobody's by now.
        child.end(1.0)
        child.close()
    if not line:
        raise SidecarStartupError(
            f"the shared sidecar did not start: {_last_words(place) or 'no last words'}"
        )
    started = msgspec.json.decode(line, type=Started)
    if started.error is not None:
        raise SidecarStartupError(f"the shared sidecar could not start: {started.error}")


def _last_words(place: MeetingPlace) -> str:
    try:
        with (place.folder / LOG).open("rb") as log:
            return last_words(log)
    except OSError:
        return ""
