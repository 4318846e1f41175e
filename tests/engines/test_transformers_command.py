"""`serve --engine transformers`: what clients are told of the model, and what is told when there is none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from tinker_client import BadRequestError, ServiceClient, SidecarStartupError, types
from tinker_client.local_server import start_local_server


def test_a_client_finds_the_model_and_its_tokenizer(host: str, tiny_folder: Path) -> None:
    with (
        closing(start_local_server("transformers", "--model", str(tiny_folder))) as server,
        ServiceClient(base_url=server.base_url, api_key="tml-tests") as service_client,
    ):
        [model] = service_client.get_server_capabilities().supported_models
        assert (model.model_name, model.max_context_length) == (str(tiny_folder), 512)
        client = service_client.create_sampling_client(base_model=model.model_name)
        tokenizer = client.get_tokenizer()
        prompt = types.ModelInput.from_ints(tokenizer.encode("30+4="))
        params = types.SamplingParams(max_tokens=20, temperature=0.0, stop="\n")
        [sequence] = client.sample(prompt, 1, params).result(60).sequences
        assert tokenizer.decode(sequence.tokens) == "34\n"
        for refused, said in (
            (types.ModelInput.from_ints([1] * 512), "the prompt has 512 tokens"),
            (prompt.append(types.ImageChunk(data=b"x", format="png", expected_tokens=1)), "takes text only"),
        ):
            with pytest.raises(BadRequestError, match=said):
                client.sample(refused, 1, params).result(60)


def empty(folder: Path, model: Path) -> list[str]:
    folder.mkdir()
    return ["--model", str(folder)]


def without_tokenizer(folder: Path, model: Path) -> list[str]:
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("tokenizer*"))
    return ["--model", str(folder)]


def without_weights(folder: Path, model: Path) -> list[str]:
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    return ["--model", str(folder)]


def without_some_weights(folder: Path, model: Path) -> list[str]:
    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if "mlp" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return ["--model", str(folder)]


def too_large(folder: Path, model: Path) -> list[str]:
    """A petabyte, which transformers means to fill by itself."""
    arguments = without_some_weights(folder, model)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 1 << 41}))
    return arguments


BAD: dict[str, tuple[Callable[[Path, Path], list[str]], str]] = {
    "no model": (
        lambda folder, model: [],
        "--engine transformers needs --model, a folder or a name on the hub",
    ),
    "no folder": (lambda folder, model: ["--model", str(folder)], "there is no model /"),
    "no folder here": (lambda folder, model: ["--model", "./nothing"], "there is no model ./nothing"),
    "an empty folder": (empty, "cannot load the tokenizer of "),
    "no tokenizer": (without_tokenizer, "cannot load the tokenizer of "),
    "no weights": (without_weights, "cannot load the model of "),
    "some weights": (without_some_weights, "cannot load the model of "),
    "too large": (too_large, "cannot load the model of "),
    "not on the hub": (
        lambda folder, model: ["--model", "nobody/nothing"],
        "cannot load the tokenizer of nobody/",
    ),
    "no dtype": (
        lambda folder, model: ["--model", str(model), "--dtype", "float99"],
        "there is no dtype 'float99': it is one of auto, bfloat16, float16, float32, float64",
    ),
    "no device": (
        lambda folder, model: ["--model", str(model), "--device", "warp:9"],
        "there is no device 'warp:9' here: ",
    ),
    "no such device": (
        lambda folder, model: ["--model", str(model), "--device", "cuda:63"],
        "there is no device 'cuda:63' here: ",
    ),
    "no adapters": (
        lambda folder, model: ["--model", str(model), "--adapters", str(folder)],
        "there is no folder of adapters /",
    ),
}


REASONS = {
    "some weights": ": its weights lack model.layers.0.mlp.down_proj.weight",
    "too large": ": there is not enough memory",
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_served_is_told_in_one_line(what: str, tmp_path: Path, tiny_folder: Path) -> None:
    prepare, complaint = BAD[what]
    with pytest.raises(SidecarStartupError) as caught:
        start_local_server("transformers", *prepare(tmp_path / "model", tiny_folder))
    said = str(caught.value).partition("tinker-sidecar serve: ")[2]
    assert said.startswith(complaint), str(caught.value)
    assert said.endswith(REASONS.get(what, "")), str(caught.value)
    assert "\n" not in said
