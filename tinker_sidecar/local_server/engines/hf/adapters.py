"""LoRA adapters, in folders as PEFT writes them, that requests name by `tinker://` paths."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft import PeftConfig, PeftModel

from tinker_sidecar.local_server.engines import GenerationError

if TYPE_CHECKING:
    from collections.abc import Container

__all__ = ["Adapters"]

MOST = 32
"""As many stay loaded. A training run names new ones for ever."""
_SCHEME = "tinker://"


class Adapters:
    """`tinker://RUN/NAME` is the folder `RUN/NAME` in `folder`. Loaded when it is first asked for."""

    def __init__(self, model: Any, folder: Path) -> None:
        self._model = model
        self._folder = folder.resolve()
        self._peft: PeftModel | None = None
        self._names: dict[str, str] = {}  # By path; the one that was asked for last is at the end.
        self._loaded = 0
        self._in_use: str | None = None

    def load(self, path: str, busy: Container[str | None]) -> None:
        """Have the adapter of `path` ready; some that are not `busy` may go. Raises `GenerationError`."""
        name = self._names.pop(path, None)
        if name is None:
            folder = self._folder_of(path)
            self._loaded += 1
            name = f"adapter-{self._loaded}"
            try:
                self._load(folder, name)
            except Exception as error:  # Whatever PEFT, safetensors and torch find wrong with the files.
                reason = str(error).strip().partition("\n")[0] or type(error).__name__
                raise GenerationError(f"cannot load the adapter {path} from {folder}: {reason}") from error
        self._names[path] = name
        self._make_room(busy)

    def use(self, path: str | None) -> None:
        """What the model computes from now on: with the adapter of `path`, or without one."""
        if path == self._in_use or self._peft is None:
            return
        if path is None:
            self._peft.base_model.disable_adapter_layers()
        else:
            self._peft.base_model.enable_adapter_layers()
            self._peft.set_adapter(self._names[path])
        self._in_use = path

    def _folder_of(self, path: str) -> Path:
        folder = (self._folder / path.removeprefix(_SCHEME)).resolve()
        if not folder.is_relative_to(self._folder):
            raise GenerationError(f"{path} leads out of the folder of adapters")
        if not (folder / "adapter_config.json").is_file():
            raise GenerationError(f"there is no adapter {path}: {folder} has no adapter_config.json")
        return folder

    def _load(self, folder: Path, name: str) -> None:
        config = PeftConfig.from_pretrained(str(folder))
        if config.is_prompt_learning or getattr(config, "bias", "none") != "none":
            raise ValueError("it adds prompts or biases, which cannot be taken off again for other requests")
        warnings.filterwarnings("ignore", category=FutureWarning)  # Between PEFT and transformers.
        self._in_use = ""  # Loading puts an adapter to use: `use` says which it is to be.
        if self._peft is None:
            self._peft = PeftModel(self._model, config, adapter_name=name).eval()
        try:
            result = self._peft.load_adapter(str(folder), adapter_name=name)
            if strange := [*result.missing_keys, *result.unexpected_keys]:
                raise ValueError(f"its weights are not those of this model's adapters: {strange[0]}")
        except Exception:
            self._peft.delete_adapter(name)
            raise

    def _make_room(self, busy: Container[str | None]) -> None:
        idle = [path for path in list(self._names)[:-1] if path not in busy and path != self._in_use]
        for path in idle[: max(0, len(self._names) - MOST)]:
            assert self._peft is not None
            self._peft.delete_adapter(self._names.pop(path))
