"""Numbers as the engine sends them."""

from __future__ import annotations

from array import array

__all__ = ["float32", "int32", "int64"]


def int32(*values: int) -> memoryview:
    return memoryview(array("i", values).tobytes())


def int64(*values: int) -> memoryview:
    return memoryview(array("q", values).tobytes())


def float32(*values: float) -> memoryview:
    return memoryview(array("f", values).tobytes())
