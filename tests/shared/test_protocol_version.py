"""Programs with different versions of this package share a sidecar only if its messages are the same."""

from __future__ import annotations

import hashlib
from types import ModuleType

import msgspec

from tinker_sidecar.ipc import handshake, protocol, shared, stats, watching

DIGESTS = {1: "e51cbedf881b16fa"}
"""Of the messages of each version of the protocol."""


def test_the_version_changes_with_the_messages() -> None:
    """If this fails: raise `PROTOCOL` in tinker_sidecar/ipc/shared.py by one, and add what is asserted here.

    Unreleased changes may replace the last digest instead.
    """
    assert digest() == DIGESTS[shared.PROTOCOL]


def digest() -> str:
    """A digest of all messages, their fields, in order, and their types."""
    lines = [line for module in (protocol, shared, watching, stats, handshake) for line in messages(module)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def messages(module: ModuleType) -> list[str]:
    structs = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, msgspec.Struct)
        and value.__module__ == module.__name__
    ]
    return [
        f"{struct.__name__} {struct.__struct_config__.tag}: {field} {struct.__annotations__.get(field, '')}"
        for struct in structs
        for field in struct.__struct_fields__
    ]
