"""What transformers says of the same model, in 32 bits: runs in vLLM's environment.

Reads lines of `{"model": …, "adapter": folder or null, "prompts": [[int]], "greedy": [int]}`. For each it
prints the logprobs of the prompts' tokens after the first, the likeliest five at each of those positions, and
twelve greedy tokens after `greedy`. An adapter is added to the weights.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM


@torch.no_grad()
def answer(asked: dict[str, Any]) -> dict[str, Any]:
    model = AutoModelForCausalLM.from_pretrained(asked["model"], dtype=torch.float32).eval()
    if asked["adapter"]:
        add(model, Path(asked["adapter"]))
    greedy = []
    for _ in range(12):
        greedy.append(int(model(torch.tensor([asked["greedy"] + greedy])).logits[0, -1].argmax()))
    scores, top = [], []
    for prompt in asked["prompts"]:
        rows = model(torch.tensor([prompt])).logits[0, :-1].log_softmax(-1)
        scores.append(rows.gather(1, torch.tensor(prompt[1:])[:, None])[:, 0].tolist())
        best = rows.topk(5)
        top.append(torch.stack([best.indices.float(), best.values], dim=-1).tolist())
    return {"scores": scores, "top": top, "greedy": greedy}


def add(model: Any, folder: Path) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    config = json.loads((folder / "adapter_config.json").read_text())
    for name in weights:
        if name.endswith(".lora_A.weight"):
            module = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            delta = weights[name.replace("lora_A", "lora_B")] @ weights[name]
            model.get_submodule(module).weight.data += delta * (config["lora_alpha"] / config["r"])


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
