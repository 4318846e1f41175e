"""A model and its tokenizer as transformers loads them, and what has to be known of them."""

from __future__ import annotations

import inspect
import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Cache, DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.utils import logging as transformers_logging

from tinker_sidecar.local_server.engines import UnavailableEngineError
from tinker_sidecar.local_server.engines.hf.sequences import TextEnds

__all__ = ["Checkpoint", "is_out_of_memory", "load_checkpoint"]

DTYPES = ("auto", "bfloat16", "float16", "float32", "float64")
UNBOUNDED = 131_072
"""The context of a model that names none."""


@dataclass(frozen=True)
class Checkpoint:
    """What is loaded. `name` is what clients call it: one of the hub, or the path of a file or folder."""

    name: str
    model: Any
    ends: TextEnds

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        device: torch.device = self.model.device
        return device

    @property
    def dtype(self) -> str:
        """What it computes with."""
        return str(self.model.dtype).removeprefix("torch.")

    @property
    def vocab_size(self) -> int:
        """Token ids are smaller than that."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    @property
    def max_context_length(self) -> int:
        """Tokens of a prompt and a sample together."""
        config = self.model.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", None) or UNBOUNDED)

    @cached_property
    def shares_batches(self) -> bool:
        """Whether sequences of different lengths can be computed together.

        They can where every layer keeps keys and values and nothing else. In a layer that keeps a state, as
        Mamba's do, nothing can be masked that has gone into it.
        """
        kinds = {type(layer) for layer in DynamicCache(config=self.model.config).layers}
        return kinds <= {DynamicLayer, DynamicSlidingWindowLayer}

    def new_cache(self) -> Cache:
        """An empty one. For shared batches each layer keeps all, whatever its attention sees of it."""
        return DynamicCache() if self.shares_batches else DynamicCache(config=self.model.config)

    def logits(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        cache: Cache,
        mask: torch.Tensor | None = None,
        only: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Float32 logits [B, S, V] after each of `tokens` [B, S], which are added to `cache`.

        `positions` [B, S] are those of the tokens. `only` names the columns whose logits are wanted: N of
        them, in place of S.
        """
        arguments = {
            "attention_mask": mask,
            "position_ids": positions,
            self._cache_argument: cache,
            "logits_to_keep": only,
        }
        known = {name: arguments[name] for name in arguments.keys() & self._arguments.keys()}
        given = {name: value for name, value in known.items() if value is not None}
        logits = self.model(input_ids=tokens, use_cache=True, **given).logits
        if only is not None and "logits_to_keep" not in given:
            logits = logits[:, only]
        converted: torch.Tensor = logits.float()
        return converted

    @cached_property
    def _arguments(self) -> Any:
        return inspect.signature(self.model.forward).parameters

    @property
    def _cache_argument(self) -> str:
        """Its name has changed within transformers 5."""
        return "cache" if "cache" in self._arguments else "past_key_values"


def load_checkpoint(name: str, dtype: str, device: str) -> Checkpoint:
    """Load what `name` is: a folder, a GGUF file, or a name on the hub. Raises `UnavailableEngineError`."""
    place, kind = _device(device), _dtype(dtype)
    path = Path(name).expanduser()
    if not path.exists() and (path.is_absolute() or name.startswith((".", "~"))):
        raise UnavailableEngineError(f"there is no model {name}")
    name = str(path.resolve()) if path.exists() else name
    # Its progress bars and advice are for whoever loads models by hand.
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("transformers").propagate = False
    where, options = _where(Path(name)) if path.exists() else (name, {})
    tokenizer = _loaded(
        "tokenizer", name, lambda: AutoTokenizer.from_pretrained(where, trust_remote_code=False, **options)
    )
    model = _loaded("model", name, lambda: _model(where, kind, options).eval().to(place))
    if not {"cache", "past_key_values"} & inspect.signature(model.forward).parameters.keys():
        raise UnavailableEngineError(f"{name} cannot be served: {type(model).__name__} takes no cache")
    return Checkpoint(name, model, TextEnds(_end_tokens(model, tokenizer), tokenizer))


def _model(where: str, dtype: Any, options: dict[str, str]) -> Any:
    model, report = AutoModelForCausalLM.from_pretrained(
        where, dtype=dtype, trust_remote_code=False, output_loading_info=True, **options
    )
    # transformers makes up what is not there, at random.
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"its weights lack {missing[0]}")
    return model


def _where(path: Path) -> tuple[str, dict[str, str]]:
    """The folder, and which GGUF file in it, as transformers wants to be told."""
    return (str(path.parent), {"gguf_file": path.name}) if path.is_file() else (str(path), {})


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch has said so. On a CPU it does with an error that has no class of its own."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in said or "allocate memory" in said)


def _loaded(what: str, name: str, load: Any) -> Any:
    try:
        return load()
    except Exception as error:  # Whatever transformers, torch and the model's own code raise.
        if is_out_of_memory(error):
            reason = "there is not enough memory"
        else:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UnavailableEngineError(f"cannot load the {what} of {name}: {reason}") from error


def _dtype(name: str) -> Any:
    if name not in DTYPES:
        raise UnavailableEngineError(f"there is no dtype {name!r}: it is one of {', '.join(DTYPES)}")
    return name if name == "auto" else getattr(torch, name)


def _device(name: str) -> torch.device:
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise UnavailableEngineError(f"there is no device {name!r} here: {reason}") from error
    return device


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """What ends a sample: all that the model's own settings name, or else the tokenizer's one."""
    named = [model.generation_config.eos_token_id if model.generation_config else None]
    named += [model.config.get_text_config().eos_token_id, tokenizer.eos_token_id]
    for ids in named:
        if ids is not None:
            return frozenset(ids if isinstance(ids, list) else [ids])
    return frozenset()
