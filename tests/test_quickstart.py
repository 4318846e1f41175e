"""The program every user of the SDK knows, as it stands, and the same with `await`; on a local server."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
from tinker_client import ServiceClient, types
service_client = ServiceClient()
sampling_client = service_client.create_sampling_client(base_model="tinker-sidecar/tiny-arithmetic")
tokenizer = sampling_client.get_tokenizer()
prompt = types.ModelInput.from_ints(tokenizer.encode("The weather today is"))
params = types.SamplingParams(max_tokens=20, temperature=0.7)
future = sampling_client.sample(prompt=prompt, sampling_params=params, num_samples=1)
result = future.result()
for sample in result.samples:
    print(repr(tokenizer.decode(sample.tokens)))
logprobs = sampling_client.compute_logprobs(prompt).result()
print(len(logprobs), logprobs[0])
"""

ASYNC_PROGRAM = """
import asyncio
from tinker_client import ServiceClient, types

async def main():
    service_client = ServiceClient()
    sampling_client = await service_client.create_sampling_client_async(
        base_model="tinker-sidecar/tiny-arithmetic"
    )
    tokenizer = sampling_client.get_tokenizer()
    prompt = types.ModelInput.from_ints(tokenizer.encode("The weather today is"))
    params = types.SamplingParams(max_tokens=20, temperature=0.7)
    result = await sampling_client.sample(prompt=prompt, sampling_params=params, num_samples=1)
    again = await sampling_client.sample_async(prompt=prompt, sampling_params=params, num_samples=1)
    for sample in result.samples:
        print(repr(tokenizer.decode(sample.tokens)))
    assert again.sequences is again.samples
    logprobs = await sampling_client.compute_logprobs_async(prompt)
    assert logprobs == await sampling_client.compute_logprobs(prompt)
    print(len(logprobs), logprobs[0])

asyncio.run(main())
"""


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("program", [PROGRAM, ASYNC_PROGRAM], ids=["sync", "async"])
def test_it_runs(program: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"TINKER_BASE_URL": "local"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert (run.returncode, run.stderr) == (0, "")
    completion, logprobs = run.stdout.splitlines()
    assert completion
    assert logprobs == "20 None"
