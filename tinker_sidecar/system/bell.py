"""What a doorbell is, whatever the system makes it of."""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol

__all__ = ["Doorbell", "Ring"]


class Ring(Enum):
    """Why `Doorbell.wait` returned: nothing came in time, something to read, or the sidecar's exit."""

    NONE = auto()
    RESULTS = auto()
    EXIT = auto()


class Doorbell(Protocol):
    """Wakes the receiving thread when results have come or the sidecar has exited.

    It can be muted for results, as somebody else may wait for them. To do so gives up the GIL not once.
    """

    def wait(self, timeout: int) -> Ring:
        """Wait for a ring for at most `timeout` milliseconds. One for results mutes the bell.

        Raises `ValueError` once it is closed, and may raise `OSError` if the program has closed what it has.
        """

    def mute(self) -> None:
        """Do not ring for results: somebody waits for them."""

    def unmute(self) -> None:
        """Ring for what is there already, too."""

    def close(self) -> None:
        """Free what it has. May be called again."""
