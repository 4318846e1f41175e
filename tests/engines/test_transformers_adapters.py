"""LoRA adapters by `tinker://` path: several at once, each request with its own, and those that are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engines.conftest import generate, request
from tinker_sidecar.local_server.engines import GenerationError, GenerationResult
from tools.tiny_for_transformers import random_adapter

PATHS = (None, "tinker://run-1/weights/1", "tinker://run-1/weights/2", "tinker://run-2/final")


@pytest.fixture
def adapters(tmp_path: Path) -> Path:
    folder = tmp_path / "adapters"
    for seed, path in enumerate(PATHS):
        if path is not None:
            random_adapter(folder / path.removeprefix("tinker://"), seed)
    return folder


def scores(result: GenerationResult) -> list[float]:
    assert result.prompt_logprobs is not None
    return [it for it in result.prompt_logprobs if it is not None]


def test_each_request_has_its_adapter_and_the_others_none(
    open_engine: Callable[..., Any], adapters: Path, tiny_folder: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    asked = [request(num_samples=2, max_tokens=12, prompt_logprobs=True, model_path=path) for path in PATHS]
    together = generate(open_engine(adapters=adapters), *asked * 3)
    for it, result in zip(asked * 3, together, strict=True):
        model = AutoModelForCausalLM.from_pretrained(tiny_folder)
        if it.model_path is not None:
            folder = adapters / it.model_path.removeprefix("tinker://")
            model = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
        for completion in result.completions:
            whole = torch.tensor([it.prompt + completion.tokens])
            with torch.inference_mode():
                logprobs = model(whole).logits.log_softmax(-1)[0]
            expected = [float(logprobs[at, token]) for at, token in enumerate(whole[0, 1:].tolist())]
            assert scores(result) + completion.logprobs == pytest.approx(expected, abs=1e-4)


def test_few_of_many_stay_loaded(
    open_engine: Callable[..., Any], adapters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinker_sidecar.local_server.engines.hf.adapters.MOST", 2)
    engine = open_engine(adapters=adapters)
    asked = [request(max_tokens=3, prompt_logprobs=True, model_path=path) for path in PATHS]
    first = [scores(generate(engine, it)[0]) for it in asked]
    again = [scores(generate(engine, it)[0]) for it in reversed(asked)]
    assert again[::-1] == first
    assert len({tuple(it) for it in first}) == len(PATHS)
    assert len(engine._adapters._peft.peft_config) <= 3


def broken(folder: Path, **settings: Any) -> None:
    config = json.loads((random_adapter(folder) / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | settings))


def test_what_is_no_adapter_is_told_and_harms_nobody(open_engine: Callable[..., Any], adapters: Path) -> None:
    broken(adapters / "wrong-size", r=3)
    broken(adapters / "elsewhere", target_modules=["q_proj"])
    broken(adapters / "biased", bias="all")
    (random_adapter(adapters / "torn") / "adapter_model.safetensors").write_bytes(b"torn")
    (adapters / "empty").mkdir()
    complaints = {
        "tinker://nowhere": f"there is no adapter tinker://nowhere: {adapters / 'nowhere'} has no adapter_",
        "tinker://empty": "there is no adapter tinker://empty",
        "tinker://../model": "tinker://../model leads out of the folder of adapters",
        "tinker:///etc": "tinker:///etc leads out of the folder of adapters",
        "tinker://wrong-size": "cannot load the adapter tinker://wrong-size from ",
        "tinker://elsewhere": "its weights are not those of this model's adapters",
        "tinker://biased": "it adds prompts or biases",
        "tinker://torn": "cannot load the adapter tinker://torn from ",
    }
    engine = open_engine(adapters=adapters)
    asked = [request(max_tokens=3, prompt_logprobs=True, model_path=path) for path in PATHS]
    for path, complaint in complaints.items():
        before = [scores(generate(engine, it)[0]) for it in asked]
        with pytest.raises(GenerationError) as caught:
            generate(engine, request(model_path=path))
        assert complaint in str(caught.value)
        assert "\n" not in str(caught.value)
        assert [scores(generate(engine, it)[0]) for it in asked] == before


def test_the_first_one_to_be_asked_for_may_be_none(open_engine: Callable[..., Any], adapters: Path) -> None:
    broken(adapters / "wrong-size", r=3)
    plain, spoilt = open_engine(), open_engine(adapters=adapters)
    with pytest.raises(GenerationError):
        generate(spoilt, request(model_path="tinker://wrong-size"))
    asked = request(prompt_logprobs=True, num_samples=2)
    assert generate(spoilt, asked) == generate(plain, asked)


def test_a_server_without_adapters_says_so(open_engine: Callable[..., Any]) -> None:
    with pytest.raises(GenerationError, match="a server has adapters with --adapters DIR"):
        generate(open_engine(), request(model_path=PATHS[1]))
