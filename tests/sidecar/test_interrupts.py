"""Ctrl-C in a program that goes on after it, as a notebook does, loses nothing."""

from __future__ import annotations

import json
import subprocess
import sys

from tinker_sidecar.local_server.engines.sim import expected_tokens
from tinker_sidecar.local_server.launch import LocalServer

REQUESTS = 3000

# Its own process: Python drops an interrupt that lands in a garbage collector's callback, and the libraries
# of the tests install some.
PROGRAM = f"""
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
    futures = [client.sample(types.ModelInput.from_ints([n]), 1, params) for n in range(1, {REQUESTS} + 1)]
    for future in futures:
        while not future.done():
            with suppress(KeyboardInterrupt):
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.001)  # Once, into the wait.
                    future.result(30)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
    json.dump([interrupts, [future.result(0).sequences[0].tokens for future in futures]], sys.stdout)
"""


def test_every_result_comes(sim_server: LocalServer, host: str) -> None:
    program = subprocess.run(
        [sys.executable, "-c", PROGRAM, sim_server.base_url],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )

    assert (program.returncode, program.stderr) == (0, "")
    interrupts, tokens = json.loads(program.stdout)
    assert interrupts > 20
    assert tokens == [expected_tokens([n], 1, 0, 4) for n in range(1, REQUESTS + 1)]
