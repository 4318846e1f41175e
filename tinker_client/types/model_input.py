"""The prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from tinker_client.types._checks import is_official, wrong_type
from tinker_client.types._values import Model
from tinker_client.types.model_input_chunk import EncodedTextChunk, ModelInputChunk, as_chunk

if TYPE_CHECKING:
    from tinker_sidecar.ipc import protocol

__all__ = ["ModelInput"]


class ModelInput(Model, frozen=True, kw_only=True):
    """A prompt: chunks of tokens, images and audio, in order.

    Parameters
    ----------
    chunks
        The chunks; a copy of the list is kept.

    Raises
    ------
    TypeError
        Something in `chunks` is not a chunk.
    """

    chunks: list[ModelInputChunk]

    def __post_init__(self) -> None:
        if not isinstance(self.chunks, list | tuple):
            raise wrong_type("chunks", "a list of chunks", self.chunks)
        chunks = [as_chunk(f"chunks[{index}]", chunk) for index, chunk in enumerate(self.chunks)]
        msgspec.structs.force_setattr(self, "chunks", chunks)

    @classmethod
    def from_ints(cls, tokens: Sequence[int]) -> ModelInput:
        """A prompt of one chunk: the token ids `tokens`. `EncodedTextChunk` says which it takes."""
        return cls(chunks=[EncodedTextChunk(tokens=tokens)])

    @classmethod
    def empty(cls) -> ModelInput:
        """A prompt without chunks, to append to."""
        return cls(chunks=[])

    @classmethod
    def coerce(cls, value: object) -> ModelInput:
        """`value` if it is a prompt, ours or the official SDK's; otherwise a `TypeError` that helps."""
        if isinstance(value, ModelInput):
            return value
        if is_official(value, "ModelInput"):
            return cls(chunks=value.chunks)  # type: ignore[attr-defined]
        allowed = "a types.ModelInput"
        if isinstance(value, str):
            allowed += " (encode text with the tokenizer and use ModelInput.from_ints)"
        elif isinstance(value, Sequence) or hasattr(value, "tolist"):
            allowed += " (use ModelInput.from_ints for token ids)"
        raise wrong_type("prompt", allowed, value)

    def to_ints(self) -> list[int]:
        """All token ids in one list; a `ValueError` when a chunk is not text."""
        tokens: list[int] = []
        for chunk in self.chunks:
            if not isinstance(chunk, EncodedTextChunk):
                raise ValueError(
                    f"to_ints needs a prompt of text alone, but it has an {type(chunk).__name__}"
                )
            tokens += chunk.tokens
        return tokens

    @property
    def length(self) -> int:
        """How many tokens the prompt takes in the context; a `ValueError` when an image doesn't say."""
        return sum(chunk.length for chunk in self.chunks)

    def append(self, chunk: ModelInputChunk) -> ModelInput:
        """A new prompt with `chunk` at the end."""
        return ModelInput(chunks=[*self.chunks, chunk])

    def append_int(self, token: int) -> ModelInput:
        """A new prompt with one more token, the id `token`."""
        return self.append(EncodedTextChunk(tokens=[token]))

    def to_wire(self) -> list[protocol.PackedChunk]:
        """As the engine gets it."""
        return [chunk.to_wire() for chunk in self.chunks]
