"""Having the official SDK's `get_tokenizer()` know the tokenizers of the local server's models."""

from __future__ import annotations

import inspect
from typing import Any

from tinker_client.official.patching import Patch, own_function
from tinker_client.official.sdk import Sdk
from tinker_client.tokenizers import is_on_this_machine, load_tokenizer

__all__ = ["patch_tokenizers"]

_LOADER = "_load_tokenizer_from_model_info"
"""What loads a tokenizer for sampling and for training clients in every version so far. Private there."""


def patch_tokenizers(sdk: Sdk) -> list[Patch]:
    """Have it load those of local models from this package, and others as ever.

    Returns the patch. A version that has no such place is left as it is.
    """
    loader = own_function(sdk.client_class, "get_tokenizer").__globals__.get(_LOADER)
    return [] if loader is None else [Patch(inspect.unwrap(loader), _loading)]


def _loading(original: Any) -> Any:
    def load(model_name: str, *arguments: Any, **keywords: Any) -> Any:
        if is_on_this_machine(model_name):
            return load_tokenizer(model_name)
        return original(model_name, *arguments, **keywords)

    return load
