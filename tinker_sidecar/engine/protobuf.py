"""Protobuf messages read where they lie: what has a length is a view of the message's own bytes.

Google's library copies an array twice on its way to Python, which for results of megabytes takes more time
and memory than all else. https://protobuf.dev/programming-guides/encoding/ describes the encoding.
"""

from __future__ import annotations

from tinker_sidecar.ipc.varint import MORE, read_varint

__all__ = ["Message"]

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_LAST_NUMBER = 2**29 - 1
_NOTHING = memoryview(b"")


class Message:
    """An encoded message's fields, by number. Raises `ValueError` where they are not what is asked for.

    Of a field that occurs more than once the last counts; messages are merged.
    """

    __slots__ = ("fields",)

    def __init__(self, *parts: memoryview) -> None:
        self.fields: dict[int, list[int | memoryview]] = {}
        """Whatever is there, in the order in which it is."""
        for part in parts:
            self._read(part)

    def integer(self, number: int) -> int:
        """An `int32`, `uint32` below 2**31 or enum; 0 if it is not there."""
        values = self.fields.get(number)
        if values is None:
            return 0
        value = values[-1]
        if not isinstance(value, int):
            raise ValueError("bytes where an integer belongs")
        return _signed(value, 32)

    def integers(self, number: int) -> list[int]:
        """A repeated `int64`, packed or not."""
        integers = []
        for value in self.fields.get(number, ()):
            if isinstance(value, int):
                integers.append(_signed(value, 64))
                continue
            at = 0
            while at < len(value):
                one, at = read_varint(value, at)
                integers.append(_signed(one, 64))
        return integers

    def data(self, number: int) -> memoryview:
        """Its bytes; none if it is not there."""
        values = self.fields.get(number)
        return _NOTHING if values is None else _a_view(values[-1])

    def message(self, number: int) -> Message:
        """An empty one if it is not there."""
        return Message(*map(_a_view, self.fields.get(number, ())))

    def messages(self, number: int) -> list[Message]:
        """A repeated message."""
        return [Message(_a_view(value)) for value in self.fields.get(number, ())]

    def _read(self, data: memoryview) -> None:
        value: int | memoryview
        fields, at, end = self.fields, 0, len(data)
        while at < end:
            # Most keys and many lengths are of one byte: a call for each would take longer than all else.
            key, at = (data[at], at + 1) if data[at] < MORE else read_varint(data, at)
            kind, number = key & 7, key >> 3
            if kind in (_LENGTH, _VARINT):
                size, at = (data[at], at + 1) if at < end and data[at] < MORE else read_varint(data, at)
                value = size
                if kind == _LENGTH:
                    value = data[at : at + size]
                    at += size
            elif kind in (_FIXED64, _FIXED32):
                size = 8 if kind == _FIXED64 else 4
                value = data[at : at + size]
                at += size
            else:
                raise ValueError(f"a field of unknown wire type {kind}")
            if not 0 < number <= _LAST_NUMBER:
                raise ValueError(f"a field with the number {number}")
            fields.setdefault(number, []).append(value)
        if at > end:
            raise ValueError("the message is cut short")


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _a_view(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("an integer where bytes belong")
    return value
