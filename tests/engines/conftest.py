"""Engines that need more than this package. What is not installed is skipped; `make engines` has it all."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tinker_sidecar.local_server.engines import GenerationRequest, GenerationResult
from tools import vllm_cpu
from tools.served_engines import ENGINES
from tools.tiny_for_transformers import save_tiny_model

Generate = Callable[..., list[GenerationResult]]


@pytest.fixture(autouse=True)
def _needs_transformers(request: pytest.FixtureRequest) -> None:
    """Skips tests of that engine where it cannot be."""
    if "transformers" in request.path.name and (reason := ENGINES["transformers"].missing()):
        pytest.skip(reason)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as transformers loads it."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def open_engine(tiny_folder: Path) -> Iterator[Callable[..., Any]]:
    """Open a model with transformers in this process, by default the tiny one."""
    from tinker_sidecar.local_server.engines.hf.adapters import Adapters
    from tinker_sidecar.local_server.engines.hf.checkpoint import load_checkpoint
    from tinker_sidecar.local_server.engines.hf.engine import TransformersEngine

    with ExitStack() as stack:

        def opened(model: Path | str = tiny_folder, adapters: Path | None = None, dtype: str = "auto") -> Any:
            checkpoint = load_checkpoint(str(model), dtype, "cpu")
            engine = TransformersEngine(checkpoint, adapters and Adapters(checkpoint.model, adapters))
            stack.callback(lambda: asyncio.run(engine.close()))
            return engine

        yield opened


@pytest.fixture(scope="module")
def reference() -> Iterator[Callable[..., Any]]:
    """What transformers says of prompts, with the model that vLLM has and in its environment."""
    command = [vllm_cpu.python_of(vllm_cpu.FOLDER), Path(__file__).with_name("vllm_reference.py")]
    with subprocess.Popen(
        command, env=vllm_cpu.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(prompts: list[list[int]], greedy: list[int], adapter: Path | None = None) -> Any:
            folder = None if adapter is None else str(adapter)
            model = str(vllm_cpu.FOLDER / vllm_cpu.MODEL)
            asked = {"model": model, "adapter": folder, "prompts": prompts, "greedy": greedy}
            print(json.dumps(asked), file=process.stdin, flush=True)
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()


def request(prompt: str | list[int] = "57*38=", **options: Any) -> GenerationRequest:
    tokens = list(prompt.encode()) if isinstance(prompt, str) else prompt
    return GenerationRequest(tokens, **{"num_samples": 1, "max_tokens": 40, "seed": 7, **options})


def generate(engine: Any, *requests: GenerationRequest) -> list[GenerationResult]:
    """Generate for several requests at once."""

    async def together() -> list[GenerationResult]:
        return await asyncio.gather(*map(engine.generate, requests))

    return asyncio.run(together())
