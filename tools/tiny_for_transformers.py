"""The tiny model as a folder that transformers loads, with the same weights: an `ArceeForCausalLM`.

    python -m tools.tiny_for_transformers FOLDER

`random_adapter` writes a LoRA adapter of it as PEFT does. Neither needs torch.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from tinker_sidecar.local_server.engines.tiny import FOLDER
from tinker_sidecar.local_server.engines.tiny.model import NORM_EPSILON, FloatArray, ModelConfig

__all__ = ["random_adapter", "save_tiny_model"]

_RANK = 4


def save_tiny_model(folder: Path) -> Path:
    """Write model and tokenizer to `folder`, which it returns."""
    folder.mkdir(parents=True, exist_ok=True)
    config = ModelConfig.load(FOLDER / "config.json")
    weights = load_file(FOLDER / "model.safetensors")
    ones = np.ones(config.width, dtype=np.float32)
    saved = {"model.embed_tokens.weight": weights["embedding"], "model.norm.weight": ones}
    for index in range(config.layers):
        of_layer = {
            name.removeprefix(f"layers.{index}."): array
            for name, array in weights.items()
            if name.startswith(f"layers.{index}.")
        }
        named = _layer(of_layer, config) | {"input_layernorm": ones, "post_attention_layernorm": ones}
        saved |= {f"model.layers.{index}.{name}.weight": array for name, array in named.items()}
    save_file(
        {name: np.ascontiguousarray(array) for name, array in saved.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    (folder / "config.json").write_text(json.dumps(_config(config), indent=2))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(FOLDER / name, folder / name)
    return folder


def _layer(weights: dict[str, FloatArray], config: ModelConfig) -> dict[str, FloatArray]:
    """Our matrices are applied from the right, theirs from the left."""
    queries, keys, values = np.split(weights["attention_in"].T, 3)
    return {
        "self_attn.q_proj": _halves_apart(queries, config),
        "self_attn.k_proj": _halves_apart(keys, config),
        "self_attn.v_proj": values,
        "self_attn.o_proj": weights["attention_out"].T,
        "mlp.up_proj": weights["mlp_in"].T,
        "mlp.down_proj": weights["mlp_out"].T,
    }


def _halves_apart(rows: FloatArray, config: ModelConfig) -> FloatArray:
    """Positions turn pairs of features. Ours lie side by side, theirs half a head apart."""
    heads = rows.reshape(config.heads, config.head_width // 2, 2, config.width)
    return heads.swapaxes(1, 2).reshape(config.width, config.width)


def _config(config: ModelConfig) -> dict[str, object]:
    return {
        "architectures": ["ArceeForCausalLM"],
        "model_type": "arcee",
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.heads,
        "head_dim": config.head_width,
        "hidden_act": "relu2",
        "max_position_embeddings": config.max_context_length,
        "rms_norm_eps": NORM_EPSILON,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_base},
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": None,
        "eos_token_id": config.end_of_text,
        "pad_token_id": None,
        "dtype": "float32",
    }


def random_adapter(folder: Path, seed: int = 0) -> Path:
    """Write an adapter that changes what every layer's values and MLP say; returns its folder."""
    config = ModelConfig.load(FOLDER / "config.json")
    random = np.random.default_rng(seed)
    shapes = {
        "self_attn.v_proj": (config.width, config.width),
        "mlp.up_proj": (config.width, config.mlp_width),
    }
    weights: dict[str, npt.NDArray[np.float32]] = {}
    for index in range(config.layers):
        for name, (width_in, width_out) in shapes.items():
            module = f"base_model.model.model.layers.{index}.{name}"
            for part, shape in (("lora_A", (_RANK, width_in)), ("lora_B", (width_out, _RANK))):
                weights[f"{module}.{part}.weight"] = random.normal(0, 0.1, shape).astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": _RANK,
        "lora_alpha": 2 * _RANK,
        "target_modules": ["v_proj", "up_proj"],
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=2))
    return folder


if __name__ == "__main__":
    save_tiny_model(Path(sys.argv[1]))
