"""Copies of a client, here and in processes that share nothing with this one."""

from __future__ import annotations

import base64
import os
import pickle
import subprocess
import sys

from tinker_client import SamplingClient, types
from tinker_sidecar.local_server.engines.sim import expected_tokens

__all__ = [
    "KEY",
    "MODEL",
    "PARAMS",
    "PROMPT",
    "SAMPLE_HANDLE",
    "SAMPLE_PICKLE",
    "TOKENS",
    "as_text",
    "copied",
    "in_another_process",
    "sample",
]

KEY = "tml-very-secret"
"""Of a server that lets in nobody else, `key_server`."""
MODEL = "tinker-sidecar/sim"
PROMPT = types.ModelInput.from_ints([1, 2, 3])
PARAMS = types.SamplingParams(max_tokens=4, seed=0)
TOKENS = expected_tokens([1, 2, 3], 0, 0, 4)
"""What everybody who samples here must get."""

SAMPLE_PICKLE = """
import base64, pickle, sys
from tinker_client import types
client = pickle.loads(base64.b64decode(sys.argv[1]))
params = types.SamplingParams(max_tokens=4, seed=0)
futures = [client.sample(types.ModelInput.from_ints([1, 2, 3]), 1, params) for _ in range(10)]
print(futures[-1].result(30).sequences[0].tokens)
"""
"""A program that samples with the client whose pickle, `as_text`, is its argument."""

SAMPLE_HANDLE = """
import sys
from tinker_client import SamplingClient, types
client = SamplingClient.from_sampler_handle(sys.argv[1])
params = types.SamplingParams(max_tokens=4, seed=0)
print(client.sample(types.ModelInput.from_ints([1, 2, 3]), 1, params).result(30).sequences[0].tokens)
"""
"""A program that samples with the client whose handle is its argument."""


def sample(client: SamplingClient) -> list[int]:
    return client.sample(PROMPT, 1, PARAMS).result(30).sequences[0].tokens


def copied(client: SamplingClient) -> SamplingClient:
    copy: SamplingClient = pickle.loads(pickle.dumps(client))
    return copy


def as_text(client: SamplingClient) -> str:
    """Its pickle, for a command line."""
    return base64.b64encode(pickle.dumps(client)).decode()


def in_another_process(program: str, *arguments: str, **environment: str) -> str:
    """What `program` prints, run by a Python that shares nothing with this one."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
