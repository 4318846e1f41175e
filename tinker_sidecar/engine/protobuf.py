"""Protobuf messages read where they lie: what has a length is a view of the message's own bytes.

Google's library copies an array twice on its way to Python, which for results of megabytes takes more time
and memory than all else. https://protobuf.dev/programming-guides/encoding/ describes the encoding.
"""

from __future__ import annotations

__all__ = ["Message"]

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_LAST_NUMBER = 2**29 - 1
_MORE = 0x80
_MOST_BITS = 70
_NOTHING = memoryview(b"")


class Message:
    """An encoded message's fields, by number. Raises `ValueError` where they are not what is asked for.

    Of a field that occurs more than once the last counts; messages are merged.
    """

    __slots__ = ("_all", "_last")

    def __init__(self, *parts: memoryview) -> None:
        self._last: dict[int, int | memoryview] = {}
        self._all: list[tuple[int, int | memoryview]] = []
        for part in parts:
            self._read(part)

    def __contains__(self, number: int) -> bool:
        return number in self._last

    def integer(self, number: int) -> int:
        """An `int32`, `uint32` below 2**31 or enum; 0 if it is not there."""
        return _signed(_an_integer(self._last.get(number, 0)), 32)

    def integers(self, number: int) -> list[int]:
        """A repeated `int64`, packed or not."""
        integers = []
        for value in self._values(number):
            if isinstance(value, int):
                integers.append(_signed(value, 64))
                continue
            at = 0
            while at < len(value):
                one, at = _varint(value, at)
                integers.append(_signed(one, 64))
        return integers

    def data(self, number: int) -> memoryview:
        """Its bytes; none if it is not there."""
        return _a_view(self._last.get(number, _NOTHING))

    def message(self, number: int) -> Message:
        """An empty one if it is not there."""
        return Message(*map(_a_view, self._values(number)))

    def messages(self, number: int) -> list[Message]:
        """A repeated message."""
        return [Message(_a_view(value)) for value in self._values(number)]

    def _read(self, data: memoryview) -> None:
        value: int | memoryview
        at, end = 0, len(data)
        while at < end:
            key, at = _varint(data, at)
            kind, number = key & 7, key >> 3
            if kind == _LENGTH:
                size, at = _varint(data, at)
                value = data[at : at + size]
                at += size
            elif kind == _VARINT:
                value, at = _varint(data, at)
            elif kind in (_FIXED64, _FIXED32):
                size = 8 if kind == _FIXED64 else 4
                value = data[at : at + size]
                at += size
            else:
                raise ValueError(f"a field of unknown wire type {kind}")
            if not 0 < number <= _LAST_NUMBER:
                raise ValueError(f"a field with the number {number}")
            self._last[number] = value
            self._all.append((number, value))
        if at > end:
            raise ValueError("the message is cut short")

    def _values(self, number: int) -> list[int | memoryview]:
        return [value for of, value in self._all if of == number]


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number at `at`, of up to 64 bits, and where it ends."""
    value = shift = 0
    try:
        while (byte := data[at]) >= _MORE:
            value |= (byte & 0x7F) << shift
            at += 1
            shift += 7
            if shift == _MOST_BITS:
                raise ValueError("a number that does not end")
    except IndexError:
        raise ValueError("the message is cut short") from None
    return (value | byte << shift) & 0xFFFF_FFFF_FFFF_FFFF, at + 1


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _an_integer(value: int | memoryview) -> int:
    if not isinstance(value, int):
        raise ValueError("bytes where an integer belongs")  # It is the message that is wrong.
    return value


def _a_view(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("an integer where bytes belong")  # As above.
    return value
