"""Whether a message can be sent to a sidecar, told to the caller before it is."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from tinker_sidecar.ipc.protocol import MAX_FRAME

__all__ = ["checked_message"]

_Message = TypeVar("_Message", bound=msgspec.Struct)
_encode = msgspec.msgpack.Encoder().encode


def checked_message(message: _Message) -> _Message:
    """`message`, if it can be sent to a sidecar, now or later; a `ValueError` names the field that can't."""
    try:
        size = len(_encode(message))
    except (UnicodeEncodeError, OverflowError) as error:
        field = next(name for name in message.__struct_fields__ if not _is_encodable(getattr(message, name)))
        raise ValueError(f"{field} holds what cannot be sent: {error}") from None
    if size > MAX_FRAME:
        raise ValueError(f"a request of {size} bytes is too large: at most {MAX_FRAME} can be sent")
    return message


def _is_encodable(value: object) -> bool:
    try:
        _encode(value)
    except (UnicodeEncodeError, OverflowError):
        return False
    return True
