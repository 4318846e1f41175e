"""The official SDK, as it comes from the index, against the local server: it samples and scores, unmodified.

Each version has an environment of its own, built on first use and kept: see `tools/official_sdk.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.official.environment import last_line
from tinker_client.local_server import LocalServer, start_local_server
from tinker_sidecar.local_server.engines import tiny
from tinker_sidecar.local_server.engines.sim import BASE_MODEL as SIM
from tinker_sidecar.local_server.engines.sim import expected_logprobs, expected_tokens
from tools.official_sdk import VERSIONS, python_with

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

# What a user's program does; it prints what it was told.
PROGRAM = """
import json, pickle, sys, warnings
warnings.simplefilter("ignore")
import tinker
from tinker import types

base_model, prompt, max_tokens = json.loads(sys.argv[1])
service_client = tinker.ServiceClient()
sampling_client = service_client.create_sampling_client(base_model=base_model)
params = types.SamplingParams(max_tokens=max_tokens, temperature=1.0, seed=5)
prompt = types.ModelInput.from_ints(prompt)
futures = [sampling_client.sample(prompt=prompt, sampling_params=params, num_samples=2) for _ in range(8)]
results = [future.result() for future in futures]
asked = {"include_prompt_logprobs": True, "topk_prompt_logprobs": 3}
detailed = sampling_client.sample(prompt, 1, params, **asked).result()
completed = types.ModelInput.from_ints(prompt.to_ints() + results[0].sequences[0].tokens)
clone = pickle.loads(pickle.dumps(sampling_client))
cloned = clone.sample(prompt=prompt, sampling_params=params, num_samples=1).result()
print(json.dumps({
    "sequences": [[[s.tokens, s.logprobs] for s in result.sequences] for result in results],
    "scored": sampling_client.compute_logprobs(completed).result(),
    "prompt_logprobs": detailed.prompt_logprobs,
    "topk_prompt_logprobs": detailed.topk_prompt_logprobs,
    "cloned": cloned.sequences[0].tokens,
    "base_model": sampling_client.get_base_model(),
    "models": [m.model_name for m in service_client.get_server_capabilities().supported_models],
}))
"""


@pytest.fixture(scope="module", params=VERSIONS)
def official(request: pytest.FixtureRequest) -> Path:
    return python_with(request.param)


def run(
    official: Path, server: LocalServer, model: str, prompt: list[int], max_tokens: int
) -> dict[str, Any]:
    keep = ("PATH", "HOME", "TMPDIR", "LANG")
    environment = {name: os.environ[name] for name in keep if name in os.environ}
    environment |= {"TINKER_API_KEY": "tml-local", "TINKER_BASE_URL": server.base_url}
    command = [official, "-c", PROGRAM, json.dumps([model, prompt, max_tokens])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    result: dict[str, Any] = last_line(done)
    return result


@pytest.mark.parametrize("flag", ["true", "false"])
def test_the_simulation_says_what_it_must(official: Path, flag: str) -> None:
    """With one poll for all requests, and with one for each."""
    prompt = list(range(100, 140))
    config = ("--client-config", f"sample_use_retrieve_futures={flag}")
    with closing(start_local_server("sim", "--inline-result-bytes", "256", *config)) as server:
        said = run(official, server, SIM, prompt, 32)
    tokens = [expected_tokens(prompt, 5, index, 32) for index in range(2)]
    assert said["sequences"] == [[[sample, expected_logprobs(sample)] for sample in tokens]] * 8
    assert said["scored"] == [None, *expected_logprobs((prompt + tokens[0])[1:])]
    assert said["prompt_logprobs"] == [None, *expected_logprobs(prompt[1:])]
    assert [row and len(row) for row in said["topk_prompt_logprobs"]] == [None, *[3] * 39]
    assert said["cloned"] == tokens[0]
    assert (said["base_model"], said["models"]) == (SIM, [SIM])


def test_the_language_model_scores_its_samples_as_it_drew_them(
    official: Path, tiny_server: LocalServer
) -> None:
    prompt = list(b"57*38=")
    said = run(official, tiny_server, tiny.BASE_MODEL, prompt, 60)
    [tokens, logprobs] = said["sequences"][0][0]
    assert tokens
    assert said["scored"][0] is None
    assert said["scored"][len(prompt) :] == pytest.approx(logprobs, abs=1e-4)
    assert said["prompt_logprobs"][1:] == pytest.approx(said["scored"][1 : len(prompt)], abs=1e-4)
    assert said["models"] == [tiny.BASE_MODEL]
