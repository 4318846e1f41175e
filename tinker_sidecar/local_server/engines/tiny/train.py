"""Train the tiny model: `python -m tinker_sidecar.local_server.engines.tiny.train --out DIR`.

Needs PyTorch, from 2.9 on. One CPU thread, a fixed seed, about 14 minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tinker_sidecar.local_server.engines import GenerationRequest
from tinker_sidecar.local_server.engines.tiny import BASE_MODEL
from tinker_sidecar.local_server.engines.tiny.problems import (
    Problem,
    draw_problem,
    final_answer,
    generate_problems,
)
from tinker_sidecar.needs import exit_if_missing

with exit_if_missing("the training of the tiny model", "torch"):
    import torch
    from torch.nn import functional

with exit_if_missing("the training of the tiny model", "tinker-sidecar"):
    import numpy as np
    from safetensors.torch import save_file

    from tinker_sidecar.local_server.engines.tiny.engine import TinyEngine
    from tinker_sidecar.local_server.engines.tiny.model import NORM_EPSILON, ModelConfig, rope_angles
    from tinker_sidecar.local_server.engines.tiny.tokenizer import save_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator

Weights = dict[str, torch.Tensor]

SEED = 20_240
ROWS, ROW_LENGTH = 48, 96  # a batch: about 130 problems
PEAK_LEARNING_RATE = 6e-3
WARM_UP_STEPS = 100
HELD_OUT_PROBLEMS = 4000
IGNORED = -100


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Rows of problems packed end to end; `mask[row, i, j]`: token `i` may look at token `j`."""

    inputs: torch.Tensor
    targets: torch.Tensor
    mask: torch.Tensor


def main() -> None:
    """Make the whole of the folder `--out`: tokenizer, weights and `config.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model to")
    parser.add_argument("--steps", type=int, default=3000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    config = ModelConfig()
    save_tokenizer(config, arguments.out)
    save_config(config, arguments.out)
    train(config, arguments.out, arguments.steps)
    save_config(config, arguments.out, asyncio.run(measure(arguments.out)))


def save_config(config: ModelConfig, folder: Path, accuracy: dict[str, float] | None = None) -> None:
    """Write `config.json`: the model's shape and, once measured, how good it is."""
    fields = {"base_model": BASE_MODEL, **asdict(config), **(accuracy or {})}
    (folder / "config.json").write_text(json.dumps(fields, indent=2) + "\n")


async def measure(folder: Path) -> dict[str, float]:
    """The share of held-out problems the saved model answers correctly, in the engine that serves it."""
    engine = TinyEngine(folder)
    problems = generate_problems(HELD_OUT_PROBLEMS, SEED)
    accuracy: dict[str, float] = {"held_out_problems": HELD_OUT_PROBLEMS}
    for name, temperature in (("greedy", 0.0), ("temperature_1", 1.0)):
        right = await asyncio.gather(*(answers(engine, problem, temperature) for problem in problems))
        accuracy[f"held_out_accuracy_{name}"] = sum(right) / len(problems)
        print(f"held-out accuracy, {name}: {accuracy[f'held_out_accuracy_{name}']:.2%}")
    await engine.close()
    return accuracy


async def answers(engine: TinyEngine, problem: Problem, temperature: float) -> bool:
    """Whether one sample ends in the right answer."""
    request = GenerationRequest(
        list(problem.prompt.encode()), num_samples=1, max_tokens=128, temperature=temperature, seed=SEED
    )
    tokens = (await engine.generate(request)).completions[0].tokens
    completion = bytes(token for token in tokens if token < 256).decode(errors="replace")
    return final_answer(completion) == problem.answer


def train(config: ModelConfig, folder: Path, steps: int) -> None:
    """Train from scratch and save the weights to `folder` every hundred steps."""
    weights = initial_weights(config)
    matrices = [weight for name, weight in weights.items() if name != "embedding"]
    optimizers = [
        torch.optim.Muon(matrices, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW([weights["embedding"]], betas=(0.9, 0.98), weight_decay=0.01),
    ]
    angles = torch.from_numpy(rope_angles(config))
    started = time.monotonic()
    for step, batch in zip(range(steps), batches(config), strict=False):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = forward(weights, config, angles, batch)
        loss = functional.cross_entropy(
            logits.float().flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED
        )
        loss.backward()
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, steps)
            optimizer.step()
            optimizer.zero_grad()
        if (step + 1) % 100 == 0:
            seconds = time.monotonic() - started
            print(f"step {step + 1}/{steps} loss {loss.item():.4f} {seconds:.0f} s", flush=True)
            save_weights(weights, folder)


def save_weights(weights: Weights, folder: Path) -> None:
    """Write `model.safetensors`, which `Transformer.load` reads."""
    path = folder / "model.safetensors"
    save_file({name: weight.detach() for name, weight in weights.items()}, path)
    path.chmod(0o644)  # safetensors leaves it readable by its owner alone


def initial_weights(config: ModelConfig) -> Weights:
    """Random weights by name, each matrix `[in, out]`."""
    generator = torch.Generator().manual_seed(SEED)
    width, mlp_width = config.width, config.mlp_width
    shapes = {"embedding": (config.vocab_size, width)}
    for layer in range(config.layers):
        shapes |= {
            f"layers.{layer}.attention_in": (width, 3 * width),
            f"layers.{layer}.attention_out": (width, width),
            f"layers.{layer}.mlp_in": (width, mlp_width),
            f"layers.{layer}.mlp_out": (mlp_width, width),
        }
    residual_scale = 1 / math.sqrt(2 * config.layers)
    weights = {}
    for name, shape in shapes.items():
        scale = 0.5 / math.sqrt(width) if name == "embedding" else 1 / math.sqrt(shape[0])
        scale *= residual_scale if name.endswith("_out") else 1
        weights[name] = (torch.randn(shape, generator=generator) * scale).requires_grad_()
    return weights


def forward(
    weights: Weights, config: ModelConfig, angles: torch.Tensor, batch: TrainingBatch
) -> torch.Tensor:
    """Logits `[B, S, V]` of the token after each of `inputs` `[B, S]`. The twin of `Transformer.forward`."""
    rows, length = batch.inputs.shape
    turns = torch.polar(torch.ones_like(angles[:length]), angles[:length])[:, None, :]
    x = weights["embedding"][batch.inputs]
    for layer in range(config.layers):
        qkv = norm(x) @ weights[f"layers.{layer}.attention_in"]
        query, key, value = qkv.view(rows, length, 3, config.heads, config.head_width).unbind(2)
        query, key = rotate(query, turns).to(value.dtype), rotate(key, turns).to(value.dtype)
        mixed = functional.scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), batch.mask[:, None]
        )
        x = x + mixed.transpose(1, 2).reshape(rows, length, -1) @ weights[f"layers.{layer}.attention_out"]
        hidden = functional.relu(norm(x) @ weights[f"layers.{layer}.mlp_in"]).square()
        x = x + hidden @ weights[f"layers.{layer}.mlp_out"]
    return norm(x) @ weights["embedding"].T


def norm(x: torch.Tensor) -> torch.Tensor:
    """RMS norm without a scale, as `model._norm`."""
    return functional.rms_norm(x, x.shape[-1:], eps=NORM_EPSILON)


def rotate(x: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Turn each pair of features, as rotary position embeddings do."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turns).flatten(-2)


def batches(config: ModelConfig) -> Iterator[TrainingBatch]:
    """Endless batches for next-token training. Only solutions are targets: problems can't be foreseen."""
    rng = random.Random(SEED)
    shape = (ROWS, ROW_LENGTH)
    problem = draw_problem(rng, held_out=False)
    while True:
        inputs = np.full(shape, config.end_of_text)
        targets = np.full(shape, IGNORED)
        owners = np.zeros(shape, dtype=np.int64)  # which problem of its row a token belongs to
        for row in range(ROWS):
            start = 0
            while start + len(text := (problem.prompt + problem.solution).encode()) <= ROW_LENGTH:
                end, given = start + len(text), len(problem.prompt)
                inputs[row, start:end] = list(text)
                targets[row, start + given - 1 : end] = [*text[given:], config.end_of_text]
                owners[row, start:end] = end
                start, problem = end, draw_problem(rng, held_out=False)
        mask = (owners[:, :, None] == owners[:, None, :]) & np.tri(ROW_LENGTH, dtype=bool)
        yield TrainingBatch(torch.from_numpy(inputs), torch.from_numpy(targets), torch.from_numpy(mask))


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to zero."""
    if step < WARM_UP_STEPS:
        return PEAK_LEARNING_RATE * (step + 1) / WARM_UP_STEPS
    progress = (step - WARM_UP_STEPS) / (steps - WARM_UP_STEPS)
    return PEAK_LEARNING_RATE * (1 + math.cos(math.pi * progress)) / 2


if __name__ == "__main__":
    main()
