"""The parts a prompt is made of."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from tinker_client.types._cells import int32_list, pack_token_ids
from tinker_client.types._checks import INT64, as_int, is_official, short, wrong_type, wrong_value
from tinker_client.types._pydantic import PydanticModel
from tinker_client.types._values import Model, View, lazy
from tinker_sidecar.ipc import protocol
from tinker_sidecar.ipc.varint import read_varint

__all__ = [
    "DmelChunk",
    "EncodedTextChunk",
    "ImageAssetPointerChunk",
    "ImageChunk",
    "ModelInputChunk",
    "as_chunk",
]

_set = object.__setattr__
_force = msgspec.structs.force_setattr


class EncodedTextChunk(View, PydanticModel):
    """Token ids.

    Parameters
    ----------
    tokens
        Ids in 0..2147483647: a list, tuple or other sequence of ints, a numpy array or a torch
        tensor of one dimension. They are copied.
    type
        "encoded_text" alone: what tells it from other chunks, in the JSON of the official SDK.

    Raises
    ------
    TypeError
        `tokens` is not such a sequence, or holds something else than ints (a float, a bool).
    ValueError
        An id is negative or does not fit int32, or an array has more dimensions than one.
    """

    __slots__ = ("_packed",)
    _packed: bytes

    def __init__(self, *, tokens: Sequence[int], type: Literal["encoded_text"] = "encoded_text") -> None:  # noqa: A002
        _check_type(type, "encoded_text")
        _set(self, "_packed", pack_token_ids("tokens", tokens))

    @lazy
    def tokens(self) -> list[int]:
        """The token ids. The chunk is not changed by changing this list."""
        return int32_list(self._packed)

    @property
    def type(self) -> Literal["encoded_text"]:
        """What tells it from other chunks, in the JSON of the official SDK."""
        return "encoded_text"

    @property
    def length(self) -> int:
        """How many tokens the chunk takes in the context."""
        return len(self._packed) // 4

    def to_wire(self) -> protocol.PackedText:
        """As the engine gets it."""
        return protocol.PackedText(memoryview(self._packed))

    def _fields(self) -> dict[str, Any]:
        return {"tokens": int32_list(self._packed), "type": self.type}

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        return {"tokens": msgspec.NODEFAULT, "type": "encoded_text"}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, EncodedTextChunk):
            return NotImplemented
        return self._packed == other._packed

    def __hash__(self) -> int:
        return hash(self._packed)

    def __repr__(self) -> str:
        return f"EncodedTextChunk(tokens={short(memoryview(self._packed).cast('i'), self.length)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _text_chunk, (self._packed,)


def _text_chunk(packed: bytes) -> EncodedTextChunk:
    chunk = EncodedTextChunk.__new__(EncodedTextChunk)
    _set(chunk, "_packed", packed)
    return chunk


class ImageChunk(Model, frozen=True, kw_only=True):
    """An image.

    Parameters
    ----------
    data
        The file's bytes, or the same in base64.
    format
        "png" or "jpeg".
    expected_tokens
        How many tokens you take the image to be. The server counts for itself, and refuses the
        request early when this is off. None: the server's count alone holds.
    type
        "image" alone: what tells it from other chunks, in the JSON of the official SDK.

    Raises
    ------
    TypeError, ValueError
        An argument is not what it must be: `data` is empty or no base64, `format` is another.
    """

    data: bytes
    format: Literal["png", "jpeg"]
    expected_tokens: int | None = None
    type: Literal["image"] = "image"

    def __post_init__(self) -> None:
        _check_type(self.type, "image")
        _force(self, "data", _as_bytes("data", self.data))
        _check_image(self)

    @property
    def length(self) -> int:
        """`expected_tokens`; a `ValueError` when that is not set."""
        return _expected(self)

    def to_wire(self) -> protocol.PackedImage:
        """As the engine gets it."""
        return protocol.PackedImage(memoryview(self.data), self.format, self.expected_tokens)

    def __repr__(self) -> str:
        return (
            f"ImageChunk(data=<{len(self.data)} bytes>, format={self.format!r}, "
            f"expected_tokens={self.expected_tokens})"
        )


class ImageAssetPointerChunk(Model, frozen=True, kw_only=True):
    """An image that the server fetches.

    Parameters
    ----------
    location
        Its path or URL, as the server sees it.
    format
        "png" or "jpeg".
    expected_tokens
        As in `ImageChunk`.
    type
        "image_asset_pointer" alone: what tells it from other chunks, in the JSON of the official SDK.

    Raises
    ------
    TypeError, ValueError
        An argument is not what it must be: `location` is empty, `format` is another.
    """

    format: Literal["png", "jpeg"]
    location: str
    expected_tokens: int | None = None
    type: Literal["image_asset_pointer"] = "image_asset_pointer"

    def __post_init__(self) -> None:
        _check_type(self.type, "image_asset_pointer")
        if not isinstance(self.location, str):
            raise wrong_type("location", "a path or URL", self.location)
        if not self.location:
            raise wrong_value("location", "a path or URL", self.location)
        _check_image(self)

    @property
    def length(self) -> int:
        """`expected_tokens`; a `ValueError` when that is not set."""
        return _expected(self)

    def to_wire(self) -> protocol.PackedImagePointer:
        """As the engine gets it."""
        return protocol.PackedImagePointer(self.location, self.format, self.expected_tokens)


class DmelChunk(Model, frozen=True, kw_only=True):
    """Audio as a serialized tensor of discrete mel tokens.

    Parameters
    ----------
    dmel
        The serialized tensor (a `TensorContainer`), as bytes or base64.
    type
        "dmel" alone: what tells it from other chunks, in the JSON of the official SDK.

    Raises
    ------
    TypeError, ValueError
        `dmel` is empty, or neither bytes nor base64.
    """

    dmel: bytes
    type: Literal["dmel"] = "dmel"

    def __post_init__(self) -> None:
        _check_type(self.type, "dmel")
        _force(self, "dmel", _as_bytes("dmel", self.dmel))

    @property
    def length(self) -> int:
        """The tensor's first dimension; a `ValueError` when the bytes don't start like a tensor."""
        return _first_dimension(self.dmel)

    def to_wire(self) -> protocol.PackedDmel:
        """As the engine gets it."""
        return protocol.PackedDmel(memoryview(self.dmel))

    def __repr__(self) -> str:
        return f"DmelChunk(dmel=<{len(self.dmel)} bytes>)"


ModelInputChunk: TypeAlias = EncodedTextChunk | ImageAssetPointerChunk | ImageChunk | DmelChunk
"""Any part of a prompt."""

_CHUNKS = (EncodedTextChunk, ImageAssetPointerChunk, ImageChunk, DmelChunk)
_NAMES = tuple(cls.__name__ for cls in _CHUNKS)
_BY_TYPE: dict[object, tuple[type[ModelInputChunk], tuple[str, ...]]] = {
    "encoded_text": (EncodedTextChunk, ("tokens",)),
    "image": (ImageChunk, ("data", "format", "expected_tokens")),
    "image_asset_pointer": (ImageAssetPointerChunk, ("location", "format", "expected_tokens")),
    "dmel": (DmelChunk, ("dmel",)),
}


def as_chunk(name: str, value: object) -> ModelInputChunk:
    """`value` as one of our chunks: one already, one of the official SDK, or one as a dict."""
    if isinstance(value, _CHUNKS):
        return value
    if is_official(value, *_NAMES):
        cls, fields = _BY_TYPE[value.type]  # type: ignore[attr-defined]
        return cls(**{field: getattr(value, field) for field in fields})
    if isinstance(value, Mapping) and value.get("type") in _BY_TYPE:
        return _BY_TYPE[value["type"]][0](**value)
    raise wrong_type(name, f"a chunk ({', '.join(_NAMES)})", value)


def _check_type(value: object, allowed: str) -> None:
    if value != allowed:
        raise wrong_value("type", repr(allowed), value)


def _check_image(chunk: ImageChunk | ImageAssetPointerChunk) -> None:
    if chunk.format not in ("png", "jpeg"):
        raise wrong_value("format", "'png' or 'jpeg'", chunk.format)
    if chunk.expected_tokens is not None:
        tokens = as_int("expected_tokens", chunk.expected_tokens, "a positive int or None", (1, INT64[1]))
        _force(chunk, "expected_tokens", tokens)


def _as_bytes(name: str, data: object) -> bytes:
    allowed = "bytes, or base64 text, and not empty"
    if isinstance(data, str):
        try:
            data = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"{name} must be {allowed}, got text that is not base64: {error}") from None
    elif isinstance(data, bytearray | memoryview):
        data = bytes(data)
    elif not isinstance(data, bytes):
        raise wrong_type(name, allowed, data)
    if not data:
        raise wrong_value(name, allowed, data)
    return data


def _expected(chunk: ImageChunk | ImageAssetPointerChunk) -> int:
    if chunk.expected_tokens is None:
        raise ValueError(f"the length of an {type(chunk).__name__} is known only when expected_tokens is set")
    return chunk.expected_tokens


# The header of a serialized tensor: an optional mark that all values are one, the dtype, the number
# of dimensions and each of them, as varints. Source: `tinker.types._tensor_container`, 0.38.0.
_CONSTANT = 254
_DTYPES = range(8)


def _first_dimension(data: bytes) -> int:
    start = 1 if data[0] == _CONSTANT else 0
    if start >= len(data) or data[start] not in _DTYPES:
        raise ValueError("dmel does not start like a serialized tensor: its dtype is unknown")
    try:
        dimensions, position = read_varint(data, start + 1)
        if dimensions:
            return read_varint(data, position)[0]
    except ValueError:
        raise ValueError("dmel does not start like a serialized tensor: its shape is cut short") from None
    raise ValueError("dmel must hold a tensor of at least one dimension, got a scalar")
