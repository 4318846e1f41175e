"""Large payloads: lent by the sidecar as memory the client maps, instead of copied through a socket.

A result of megabytes would cost the client's process several copies of it, whether or not anybody reads
it. Lent memory costs it nothing until then. `tinker_sidecar.system` has how it is lent and borrowed; where a
system has no way to, payloads are sent.
"""

from __future__ import annotations

import os

__all__ = ["LARGE", "take_back"]

LARGE = 256 * 1024
"""Bytes from which lending is cheaper than sending."""


def take_back(fd: int, size: int) -> bytes:
    """The payload that was lent as `fd`, which is closed: it has to be sent after all."""
    try:
        return os.pread(fd, size, 0)
    finally:
        os.close(fd)
