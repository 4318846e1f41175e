"""The tokenizer's files, for users: a token is a byte of UTF-8, so any text can be encoded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tokenizers import AddedToken, Tokenizer, decoders, models

if TYPE_CHECKING:
    from pathlib import Path

    from tinker_sidecar.local_server.engines.tiny.model import ModelConfig

__all__ = ["save_tokenizer"]

END_OF_TEXT = "<|endoftext|>"


def save_tokenizer(config: ModelConfig, folder: Path) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json` for transformers' `AutoTokenizer`."""
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(END_OF_TEXT, special=True, normalized=False)])
    if tokenizer.token_to_id(END_OF_TEXT) != config.end_of_text:
        raise ValueError(f"the end-of-text token must have id {config.end_of_text}")
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END_OF_TEXT,
        "model_max_length": config.max_context_length,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
