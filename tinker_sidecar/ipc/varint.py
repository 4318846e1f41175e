"""Integers of as few bytes as they need, as in protobuf and in the official SDK's tensors."""

from __future__ import annotations

__all__ = ["MORE", "read_varint"]

MORE = 0x80
"""In a byte that is not the last one of its number; and what a number of one byte is less than."""
_MOST_BITS = 70


def read_varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """The number at `at`, seven bits a byte with the lowest first, and where it ends.

    Raises `ValueError` when `data` ends before it does, or it does not within ten bytes.
    """
    number = bits = 0
    try:
        while (byte := data[at]) >= MORE:
            number |= (byte & 0x7F) << bits
            at += 1
            bits += 7
            if bits == _MOST_BITS:
                raise ValueError("a number that does not end")
    except IndexError:
        raise ValueError("a number that is cut short") from None
    return number | byte << bits, at + 1
