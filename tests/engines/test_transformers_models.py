"""Models of other kinds, small and with random weights: their steps say what one pass says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engines.conftest import generate, request
from tinker_sidecar.local_server.engines.tiny import FOLDER

SIZES = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 4096,
    "eos_token_id": 256,
    "bos_token_id": None,
    "pad_token_id": None,
}
SLIDING = {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"] * 2}
KINDS: dict[str, dict[str, Any]] = {
    "Qwen3": SIZES,
    "Llama": SIZES,
    "GptOss": SIZES | SLIDING | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "Gemma3Text": SIZES | SLIDING,
    "Qwen3Moe": SIZES | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    "GPT2": {"vocab_size": 300, "n_embd": 32, "n_layer": 2, "n_head": 4, "eos_token_id": 256},
    "Bloom": {"vocab_size": 300, "hidden_size": 32, "n_layer": 2, "n_head": 4, "eos_token_id": 256},
    # Layers that keep a state.
    "Mamba": {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "eos_token_id": 256},
    "Lfm2": SIZES | {"layer_types": ["conv", "full_attention"] * 2},
    "Qwen3Next": SIZES
    | {"layer_types": ["linear_attention", "full_attention"] * 2}
    | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
    | {"shared_expert_intermediate_size": 16, "linear_num_value_heads": 4, "linear_num_key_heads": 2}
    | {"linear_key_head_dim": 8, "linear_value_head_dim": 8},
}


@pytest.fixture
def folder(kind: str, tmp_path: Path) -> Path:
    import torch
    import transformers

    torch.manual_seed(1)
    config = getattr(transformers, f"{kind}Config")(**KINDS[kind])
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(FOLDER).save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_steps_say_what_one_pass_says(kind: str, folder: Path, open_engine: Callable[..., Any]) -> None:
    import torch

    engine = open_engine(folder)
    prompts = ["57*38=", "12*7=" * 12, "8"]
    asked = [
        request(prompt, num_samples=3, max_tokens=24, temperature=2.0, prompt_logprobs=True)
        for prompt in prompts
    ]
    for it, result in zip(asked, generate(engine, *asked), strict=True):
        for completion in result.completions:
            whole = torch.tensor([it.prompt + completion.tokens])
            with torch.inference_mode():
                logprobs = engine._checkpoint.model(whole, use_cache=False).logits.float().log_softmax(-1)[0]
            expected = [float(logprobs[at, token]) for at, token in enumerate(whole[0, 1:].tolist())]
            found = (result.prompt_logprobs or [])[1:] + completion.logprobs
            assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("kind", ["Qwen3"])
def test_half_of_the_precision(kind: str, folder: Path, open_engine: Callable[..., Any]) -> None:
    exact, rough = (
        generate(open_engine(folder, dtype=dtype), request(max_tokens=1, prompt_logprobs=True))[0]
        for dtype in ("float32", "bfloat16")
    )
    assert exact.prompt_logprobs is not None
    assert rough.prompt_logprobs is not None
    assert rough.prompt_logprobs[1:] == pytest.approx(exact.prompt_logprobs[1:], abs=0.5)
    assert rough.prompt_logprobs != exact.prompt_logprobs
