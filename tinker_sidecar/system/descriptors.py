"""How many descriptors this process may have open."""

from __future__ import annotations

import contextlib

try:
    import resource
except ModuleNotFoundError:  # Windows, where importing this package is no error yet.
    resource = None  # type: ignore[assignment]  # A module is no type that could be optional.

__all__ = ["allow_many_descriptors", "descriptor_limit"]

_MOST_ON_MACOS = 10_240
"""`OPEN_MAX`: what macOS takes, though it names no limit."""


def descriptor_limit() -> int | None:
    """How many there may be, or None if there is no limit."""
    if resource is None:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def allow_many_descriptors() -> None:
    """As many as we may: the soft limit is for programs that use `select`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (hard, _MOST_ON_MACOS):
        with contextlib.suppress(OSError, ValueError):  # Less is to be had than is named.
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            return
