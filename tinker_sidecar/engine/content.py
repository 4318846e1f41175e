"""The body of an answer, whole and unpacked, as long as it is no longer than it may be."""

from __future__ import annotations

import zlib

from wreq import Response

from tinker_sidecar.engine.failures import invalid_response

__all__ = ["ACCEPTED", "received", "unpacked"]

ACCEPTED = "gzip"
"""What `unpacked` can undo, for `Accept-Encoding`."""

_GZIP_HEADER = zlib.MAX_WBITS | 16


async def received(answer: Response, limit: int, place: str) -> bytes:
    """All of a body that is still on its way; `EngineError` as soon as there are more than `limit` bytes."""
    if answer.content_length is not None and answer.content_length <= limit:
        return bytes(await answer.bytes())  # In one go, which takes half the processor time.
    content = bytearray()
    async with answer:
        async for piece in answer.stream():
            if isinstance(piece, memoryview):  # The rest are headers that come at the end.
                content += piece
            if len(content) > limit:
                await answer.close()
                raise _too_long(limit, place)
    return bytes(content)


def unpacked(content: bytes, encoding: str, limit: int, place: str) -> bytes:
    """`content` without its `Content-Encoding`.

    Raises `EngineError` for more than `limit` bytes: a thousandth of it may have come over the wire.
    """
    if content and encoding == ACCEPTED:
        unpacking = zlib.decompressobj(_GZIP_HEADER)
        try:
            content = unpacking.decompress(content, limit + 1)
        except zlib.error as error:
            raise invalid_response(f"malformed answer from {place}: {error}") from None
        if len(content) <= limit and not unpacking.eof:
            raise invalid_response(f"malformed answer from {place}: it is cut short")
    elif content and encoding not in ("", "identity"):
        raise invalid_response(f"malformed answer from {place}: its encoding is {encoding!r}")
    if len(content) > limit:
        raise _too_long(limit, place)
    return content


def _too_long(limit: int, place: str) -> Exception:
    return invalid_response(f"the answer from {place} has more than the {limit} bytes that it may have")
