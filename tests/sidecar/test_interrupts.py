"""Ctrl-C in a program that goes on after it, as a notebook does, loses nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tinker_client.local_server import LocalServer
from tinker_sidecar.local_server.engines.sim import expected_tokens

# Its own process: Python drops an interrupt that lands in a garbage collector's callback, and the libraries
# of the tests install some.
PROGRAM = """
import json, signal, sys
from contextlib import suppress
from tinker_client import ServiceClient, types

interrupts = 0

def interrupt(number, frame):
    global interrupts
    interrupts += 1
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
params = types.SamplingParams(max_tokens=4, seed=1)
with ServiceClient(base_url=sys.argv[1], api_key="tml-tests") as service_client:
    client = service_client.create_sampling_client(base_model="tinker-sidecar/sim")
    requests, tokens, topk = map(int, sys.argv[2:])
    prompts = [types.ModelInput.from_ints([n] * tokens) for n in range(1, requests + 1)]
    futures = [client.sample(prompt, 1, params, topk_prompt_logprobs=topk) for prompt in prompts]
    for future in futures:
        while not future.done():
            with suppress(KeyboardInterrupt):
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.001)  # Once, into the wait.
                    future.result(30)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
    results = [future.result(0) for future in futures]
    found = [[it.sequences[0].tokens, len(it.topk_prompt_logprobs or ())] for it in results]
    json.dump([interrupts, found], sys.stdout)
"""


@pytest.mark.parametrize(
    ("requests", "tokens", "topk"), [(3000, 1, 0), (200, 2000, 20)], ids=["small", "large enough to be lent"]
)
def test_every_result_comes(
    sim_server: LocalServer, host: str, requests: int, tokens: int, topk: int
) -> None:
    program = subprocess.run(
        [sys.executable, "-c", PROGRAM, sim_server.base_url, *map(str, (requests, tokens, topk))],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )

    assert (program.returncode, program.stderr) == (0, "")
    interrupts, results = json.loads(program.stdout)
    assert interrupts > 20
    rows = tokens if topk else 0
    assert results == [[expected_tokens([n] * tokens, 1, 0, 4), rows] for n in range(1, requests + 1)]
