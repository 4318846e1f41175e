"""Engines that need more than this package. What is not installed is skipped; `make engines` has it all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tinker_sidecar.local_server.engines import GenerationRequest, GenerationResult
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


def request(prompt: str | list[int] = "57*38=", **options: Any) -> GenerationRequest:
    tokens = list(prompt.encode()) if isinstance(prompt, str) else prompt
    return GenerationRequest(tokens, **{"num_samples": 1, "max_tokens": 40, "seed": 7, **options})


def generate(engine: Any, *requests: GenerationRequest) -> list[GenerationResult]:
    """Generate for several requests at once."""

    async def together() -> list[GenerationResult]:
        return await asyncio.gather(*map(engine.generate, requests))

    return asyncio.run(together())
