"""A model's tokenizer, loaded through transformers when it is first asked for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinker_sidecar.needs import importing_for

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["is_on_this_machine", "load_tokenizer"]

LOCAL_MODELS = "tinker-sidecar/"
"""What the names of the local server's models begin with."""

_UNGATED_LLAMA_3 = "thinkingmachineslabinc/meta-llama-3-instruct-tokenizer"

_REMOTE_CODE: dict[str, dict[str, Any]] = {
    # Tokenizers that need code from the hub are pinned to the revision that was looked at.
    "moonshotai/Kimi-K2-Thinking": {"revision": "612681931a8c906ddb349f8ad0f582cb552189cd"},
    "moonshotai/Kimi-K2.5": {"revision": "4d01dfe0332d63057c186e0b262165819efb6611"},
    "moonshotai/Kimi-K2.6": {"revision": "b5aabbfb20227ed42becbf5541dbffd213942c58"},
    "moonshotai/Kimi-K3": {"revision": "f831ab66814297da540d832a5235f8e904f29d06"},
}

_THINKING_MACHINES = ("thinkingmachines/", "TML/")


def is_on_this_machine(base_model: str) -> bool:
    """Whether a model's tokenizer is not on the hub, but in this package, or where the model's name says."""
    return base_model.startswith(LOCAL_MODELS) or Path(base_model).is_absolute()


@lru_cache(maxsize=32)
def load_tokenizer(base_model: str) -> PreTrainedTokenizerBase:
    """The tokenizer of `base_model`, a name on the Hugging Face hub or one of the local server's models.

    What transformers has loaded the local server calls by the absolute path of its folder or GGUF file.

    Names follow the service's conventions: `org/model/variant` has the tokenizer of `org/model`, and
    what comes behind a colon is not part of the name. Thinking Machines' own models have theirs in the
    package tml-renderers; what comes back for them can `encode` and `decode`, and not much more.

    Raises `ImportError` where that package, or transformers, is needed and not installed.
    """
    if Path(base_model).is_absolute():
        return _tokenizer_at(Path(base_model))
    name = base_model.split(":")[0]
    if name.startswith(LOCAL_MODELS):
        from tinker_sidecar.local_server.engines import tiny

        name = str(tiny.FOLDER)
    elif name.startswith("meta-llama/Llama-3"):
        name = _UNGATED_LLAMA_3
    elif name.count("/") == 2:
        name = name.rsplit("/", 1)[0]
    if name.startswith(_THINKING_MACHINES):
        return _thinking_machines_tokenizer(name)
    name = name.removesuffix("-Text-Only")
    options = _REMOTE_CODE.get(name, {})
    return _from_pretrained(name, trust_remote_code=bool(options), **options)


def _tokenizer_at(path: Path) -> PreTrainedTokenizerBase:
    where, options = (path.parent, {"gguf_file": path.name}) if path.is_file() else (path, {})
    return _from_pretrained(str(where), trust_remote_code=False, **options)


def _from_pretrained(name: str, **options: Any) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = _import_auto_tokenizer().from_pretrained(name, **options)
    return tokenizer


def _thinking_machines_tokenizer(name: str) -> Any:
    try:
        # A package that is not on the public index; the official SDK asks it first, too.
        from tml_tokenizers.tinker_tokenizers import get_tinker_tokenizer
    except ImportError:
        tokenizer = None
    else:
        tokenizer = get_tinker_tokenizer(name)
    return TmlTokenizer(name) if tokenizer is None else tokenizer


class TmlTokenizer:
    """The tokenizer of tml-renderers, with the names that transformers has for what it can do."""

    def __init__(self, name: str) -> None:
        with importing_for(f"the tokenizer of {name}", "tml-renderers"):
            from tml_renderers.tokenizers import O200kBaseChatTokenizer
        self.name_or_path = name
        self.tml_tokenizer = O200kBaseChatTokenizer()
        self.bos_token: str = self.tml_tokenizer.bos_token
        self.eos_token: str = self.tml_tokenizer.eos_token
        self.eos_token_id: int = self.tml_tokenizer.encode_special(self.eos_token)

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """The ids of `text`, in which the names of special tokens are plain text."""
        if add_special_tokens:
            raise ValueError("this tokenizer adds no special tokens: the renderers of tml-renderers do")
        return list(self.tml_tokenizer.encode_ordinary(text))

    def decode(self, token_ids: Iterable[int] | int, *, skip_special_tokens: bool = False) -> str:
        """The text of these ids, or of one; bytes that are no text become U+FFFD."""
        ids = [token_ids] if isinstance(token_ids, int) else [int(token_id) for token_id in token_ids]
        if skip_special_tokens:
            ids = [token_id for token_id in ids if not self.tml_tokenizer.is_special_token(token_id)]
        return str(self.tml_tokenizer.decode(ids))


def _import_auto_tokenizer() -> Any:
    """transformers advises whoever imports it without torch, which a tokenizer has no use for."""
    quiet = "TRANSFORMERS_NO_ADVISORY_WARNINGS"
    before = os.environ.get(quiet)
    os.environ[quiet] = "1"
    try:
        with importing_for("a tokenizer", "transformers"):
            from transformers import AutoTokenizer
    finally:
        if before is None:
            del os.environ[quiet]
        else:
            os.environ[quiet] = before
    return AutoTokenizer
