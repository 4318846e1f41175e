"""What to say when there is nothing that this package can do."""

from __future__ import annotations

import logging

from tinker_client.config import switch
from tinker_client.errors import TinkerError

__all__ = ["logger", "required", "say_once", "warn_once"]

logger = logging.getLogger("tinker_client.official")

_said: set[str] = set()


def required() -> bool:
    """Whether `TINKER_SIDECAR_REQUIRE` forbids going on without the sidecar."""
    return switch("TINKER_SIDECAR_REQUIRE")


def warn_once(message: str) -> None:
    """Log `message`, once a process; with `TINKER_SIDECAR_REQUIRE=1` it is a `TinkerError` each time."""
    if required():
        raise TinkerError(f"{message} (and TINKER_SIDECAR_REQUIRE is set)")
    say_once(message)


def say_once(message: str) -> None:
    """Log `message` as a warning, once a process."""
    if message not in _said:
        _said.add(message)
        logger.warning("%s", message)
