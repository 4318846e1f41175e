"""Bytes that are almost what was sent, as a broken connection, disk or proxy leaves them."""

from __future__ import annotations

from hypothesis import strategies as st

__all__ = ["damaged"]

_WAYS = st.sampled_from(["cut", "insert", "change", "repeat"])


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """`content` with one to three small faults."""
    left = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        position = draw(st.integers(0, len(left)))
        match draw(_WAYS):
            case "cut":
                del left[position:]
            case "insert":
                left[position:position] = draw(st.binary(min_size=1, max_size=4))
            case "change":
                left[position : position + 1] = draw(st.binary(min_size=1, max_size=1))
            case "repeat":
                left += left[position:]
    return bytes(left)
