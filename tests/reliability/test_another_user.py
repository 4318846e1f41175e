"""A program that becomes another user after its sidecar has started, as servers that drop privileges do."""

from __future__ import annotations

import os

import pytest

from tests.reliability.programs import Launch, in_each_host

NOBODY = 65534

LARGE = """
client = connect()
prompt = types.ModelInput.from_ints([number % 30000 for number in range(20000)])

def sample_much():
    pending = [client.sample(prompt, 1, PARAMS, True, 20) for _ in range(4)]
    for future in pending:
        assert len(future.result(30).topk_prompt_logprobs) == 20000

sample_much()
THEN
sample_much()
sample(client, range(100))
say("sampled")
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@in_each_host
def test_large_results(launch: Launch, sidecar: bool | str) -> None:
    program = launch(LARGE.replace("THEN", f"os.setresuid(*3 * [{NOBODY}])"), sidecar=sidecar)
    program.expect("sampled")

    program.assert_ends_well()


NO_DESCRIPTORS = """
import resource
held = []
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
try:
    while True:
        held.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
"""


def test_large_results_without_a_descriptor_to_borrow_them_by(launch: Launch) -> None:
    program = launch(LARGE.replace("THEN", NO_DESCRIPTORS))
    program.expect("sampled")

    program.assert_ends_well()
