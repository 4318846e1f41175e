"""A small decoder-only transformer in numpy, and the cache that lets it go on from where it was.

Shapes: B sequences, S new tokens each, T tokens in all, H heads, D a head's width, V vocabulary.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FloatArray", "IntArray", "KVCache", "ModelConfig", "Transformer", "log_softmax", "rope_angles"]

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

NORM_EPSILON = 1e-5


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The model's shape. Its vocabulary is the 256 bytes and one token that ends a text."""

    vocab_size: int = 257
    end_of_text: int = 256
    width: int = 96
    layers: int = 4
    heads: int = 4
    mlp_width: int = 384
    max_context_length: int = 512
    rope_base: float = 10_000.0

    @property
    def head_width(self) -> int:
        """The features of one attention head."""
        return self.width // self.heads

    @classmethod
    def load(cls, path: Path) -> ModelConfig:
        """Read the fields from a JSON object, which may hold others too."""
        saved = json.loads(path.read_text())
        return cls(**{field.name: saved[field.name] for field in fields(cls)})


class KVCache:
    """The keys and values of every token so far, of `len(lengths)` sequences of different lengths.

    Arrays have room to spare in both the sequences' and the tokens' direction, and what lies beyond a
    sequence's length is never looked at, but must be finite: attention multiplies it by zero.
    """

    def __init__(self, config: ModelConfig, rows: int = 0) -> None:
        self.lengths: IntArray = np.zeros(rows, dtype=np.int64)
        # [layers, keys and values, B, H, T, D]
        self.arrays: FloatArray = np.zeros(
            (config.layers, 2, rows, config.heads, 0, config.head_width), dtype=np.float32
        )

    def reserve(self, rows: int, tokens: int) -> None:
        """Make room for `rows` sequences of `tokens` tokens."""
        layers, kinds, old_rows, heads, old_tokens, width = self.arrays.shape
        if rows <= old_rows and tokens <= old_tokens:
            return
        new_rows = max(rows, 2 * old_rows) if rows > old_rows else old_rows
        new_tokens = max(tokens, old_tokens + 64) if tokens > old_tokens else old_tokens
        grown = np.zeros((layers, kinds, new_rows, heads, new_tokens, width), dtype=np.float32)
        grown[:, :, :old_rows, :, :old_tokens] = self.arrays
        self.arrays = grown

    def append(self, other: KVCache, copies: list[int]) -> None:
        """Add each of `other`'s sequences, `copies[i]` times sequence `i`."""
        sources = np.repeat(np.arange(len(copies)), copies)
        start, tokens = len(self.lengths), int(np.max(other.lengths))
        self.reserve(start + len(sources), tokens)
        added = other.arrays[:, :, sources, :, :tokens]
        self.arrays[:, :, start : start + len(sources), :, :tokens] = added
        self.lengths = np.concatenate([self.lengths, other.lengths[sources]])

    def keep(self, rows: list[int]) -> None:
        """Drop every sequence but `rows`, which get this order; none may move to a kept one's place."""
        tokens = int(np.max(self.lengths))
        for new, old in enumerate(rows):
            if new != old:
                self.arrays[:, :, new, :, :tokens] = self.arrays[:, :, old, :, :tokens]
        self.lengths = self.lengths[rows]


@dataclass(frozen=True, slots=True)
class _Layer:
    attention_in: FloatArray
    attention_out: FloatArray
    mlp_in: FloatArray
    mlp_out: FloatArray


class Transformer:
    """Weights and the arithmetic over them. It keeps no state: that is in the `KVCache`."""

    def __init__(self, config: ModelConfig, weights: dict[str, FloatArray]) -> None:
        self.config = config
        self._embedding = weights["embedding"]
        self._unembedding = np.ascontiguousarray(self._embedding.T)
        self._layers = [self._layer(weights, f"layers.{index}.") for index in range(config.layers)]
        self._turns = np.exp(1j * rope_angles(config)).astype(np.complex64)

    @classmethod
    def load(cls, folder: Path) -> Transformer:
        """Read `config.json` and `model.safetensors`."""
        return cls(ModelConfig.load(folder / "config.json"), load_file(folder / "model.safetensors"))

    def _layer(self, weights: dict[str, FloatArray], prefix: str) -> _Layer:
        layer = _Layer(*(weights[prefix + field.name].copy() for field in fields(_Layer)))
        # Attention divides its scores by sqrt(D): done here once, in the queries' part.
        layer.attention_in[:, : self.config.width] *= self.config.head_width**-0.5
        return layer

    def forward(self, tokens: IntArray, cache: KVCache) -> FloatArray:
        """Append `tokens` [B, S] to the cached sequences; give their hidden states [B, S, width].

        Writes keys and values beyond `cache.lengths` but leaves the lengths alone: only the caller
        knows how many of the S tokens are padding.
        """
        batch, new = tokens.shape
        heads, head_width = self.config.heads, self.config.head_width
        positions = cache.lengths[:, None] + np.arange(new)
        total = int(np.max(positions)) + 1
        cache.reserve(batch, total)
        turns = self._turns[positions][:, :, None, None]
        unseen = (np.arange(total) > positions[:, :, None])[:, None]  # [B, 1, S, T]
        rows = np.arange(batch)[:, None]

        x = self._embedding[tokens.reshape(-1)]  # [B * S, width]: one product of matrices, not B small ones
        for layer, (cached_keys, cached_values) in zip(self._layers, cache.arrays, strict=True):
            qkv = (_norm(x) @ layer.attention_in).reshape(batch, new, 3, heads, head_width)
            turned = (qkv[:, :, :2].view(np.complex64) * turns).view(np.float32)
            cached_keys[rows, :, positions] = turned[:, :, 1]
            cached_values[rows, :, positions] = qkv[:, :, 2]
            queries = turned[:, :, 0].transpose(0, 2, 1, 3)
            scores = queries @ cached_keys[:batch, :, :total].swapaxes(-1, -2)  # [B, H, S, T]
            np.copyto(scores, -np.inf, where=unseen)
            mixed = _softmax(scores) @ cached_values[:batch, :, :total]
            x += mixed.transpose(0, 2, 1, 3).reshape(batch * new, -1) @ layer.attention_out
            hidden = _norm(x) @ layer.mlp_in
            np.maximum(hidden, 0, out=hidden)
            hidden *= hidden
            x += hidden @ layer.mlp_out
        return _norm(x).reshape(batch, new, -1)

    def logprobs(self, hidden: FloatArray) -> FloatArray:
        """The log-distribution [..., V] of the token after each hidden state [..., width]."""
        return log_softmax(hidden @ self._unembedding)


def rope_angles(config: ModelConfig) -> FloatArray:
    """The angle by which each position turns each pair of a head's features: [max_context_length, D / 2]."""
    frequencies = config.rope_base ** (-np.arange(0, config.head_width, 2) / config.head_width)
    return np.outer(np.arange(config.max_context_length), frequencies).astype(np.float32)


def log_softmax(scores: FloatArray) -> FloatArray:
    """Log-probabilities over the last axis."""
    shifted: FloatArray = scores - scores.max(-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(-1, keepdims=True))
    return shifted


def _softmax(scores: FloatArray) -> FloatArray:
    """Over the last axis, in place."""
    scores -= scores.max(-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(-1, keepdims=True)
    return scores


def _norm(x: FloatArray) -> FloatArray:
    squares = np.einsum("...d,...d->...", x, x)[..., None]
    normed: FloatArray = x / np.sqrt(squares / np.float32(x.shape[-1]) + np.float32(NORM_EPSILON))
    return normed
