"""A model's tokenizer, loaded through transformers when it is first asked for."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["load_tokenizer"]

_UNGATED_LLAMA_3 = "thinkingmachineslabinc/meta-llama-3-instruct-tokenizer"

_REMOTE_CODE: dict[str, dict[str, Any]] = {
    # Tokenizers that need code from the hub are pinned to the revision that was looked at.
    "moonshotai/Kimi-K2-Thinking": {"revision": "612681931a8c906ddb349f8ad0f582cb552189cd"},
    "moonshotai/Kimi-K2.5": {"revision": "4d01dfe0332d63057c186e0b262165819efb6611"},
    "moonshotai/Kimi-K2.6": {"revision": "b5aabbfb20227ed42becbf5541dbffd213942c58"},
}


@lru_cache(maxsize=32)
def load_tokenizer(base_model: str) -> PreTrainedTokenizerBase:
    """The tokenizer of `base_model`, a name on the Hugging Face hub or one of the local server's models.

    Names follow the service's conventions: `org/model/variant` has the tokenizer of `org/model`, and
    what comes behind a colon is not part of the name.
    """
    AutoTokenizer = _import_auto_tokenizer()  # noqa: N806  # A class.
    name = base_model.split(":")[0]
    if name.startswith("tinker-sidecar/"):
        from tinker_sidecar.local_server.engines import tiny

        name = str(tiny.FOLDER)
    elif name.startswith("meta-llama/Llama-3"):
        name = _UNGATED_LLAMA_3
    elif name.count("/") == 2:
        name = name.rsplit("/", 1)[0]
    name = name.removesuffix("-Text-Only")
    options = _REMOTE_CODE.get(name, {})
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        name, trust_remote_code=bool(options), **options
    )
    return tokenizer


def _import_auto_tokenizer() -> Any:
    """transformers advises whoever imports it without torch, which a tokenizer has no use for."""
    quiet = "TRANSFORMERS_NO_ADVISORY_WARNINGS"
    before = os.environ.get(quiet)
    os.environ[quiet] = "1"
    try:
        from transformers import AutoTokenizer
    finally:
        if before is None:
            del os.environ[quiet]
        else:
            os.environ[quiet] = before
    return AutoTokenizer
