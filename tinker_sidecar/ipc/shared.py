"""What a program and the sidecar that it shares with others tell each other, and where they meet."""

from __future__ import annotations

import msgspec

from tinker_sidecar.ipc.watching import Watching

__all__ = [
    "ATTACH",
    "EXITING",
    "LOCK",
    "LOG",
    "LONGEST_LINE",
    "PROTOCOL",
    "SHARED_PREFIX",
    "STARTS",
    "Attach",
    "Attached",
    "HubHello",
    "Started",
]

PROTOCOL = 1
"""Of the messages between a program and a shared sidecar. It is in the name of the folder in which they meet,
since programs of one machine may have different versions of this package. A test fails when the messages
change and this does not."""

SHARED_PREFIX = "tinker-sidecars-"
"""How the folder of a shared sidecar is called. In it are these files, and a folder for each program:"""
ATTACH = "attach"
"""the socket at which programs present themselves,"""
LOCK = "lock"
"""locked by whoever starts a sidecar, and by a sidecar that ends,"""
LOG = "log"
"""its last words,"""
STARTS = "starts"
"""and when sidecars have been started here, a time a line."""

LONGEST_LINE = 1 << 16


EXITING = b"x"
"""What a program says before it leaves, if that is because it ends: what it has asked is kept until it has
ended, since an exit handler of its own may yet attach and ask for the results."""


class HubHello(msgspec.Struct):
    """To a shared sidecar that is being started, one line on its stdin."""

    folder: str
    linger: float
    """For how many seconds it stays when nobody is attached."""
    protocol: int
    """Which whoever starts it speaks: the files on the disk may be another version's by now."""


class Started(msgspec.Struct):
    """From it, one line on its stdout: programs may attach, or why not."""

    error: str | None = None


class Attach(msgspec.Struct):
    """From a program, one line on the socket; who it is, the system tells.

    The connection then stays open, and its end is the end of what the program has there.
    """

    borrows: bool
    """Whether it can map memory that the sidecar lends."""
    watching: Watching


class Attached(msgspec.Struct):
    """To it, one line: where its own sockets are, and the secret that opens them; or why there are none."""

    pid: int = 0
    folder: str = ""
    secret: str = ""
    error: str | None = None

    def __repr__(self) -> str:
        return f"Attached({self.pid}, {self.folder!r}, {self.error!r})"
