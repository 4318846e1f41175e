"""Programs without standard input, output and errors, as some daemons are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability.programs import Launch, in_each_host

CLOSED = """
sys.stdin = sys.stdout = sys.stderr = None
for descriptor in range(3):
    os.close(descriptor)
client = connect(**{})
sample(client, range(100))
prompt = types.ModelInput.from_ints([number % 30000 for number in range(20000)])
assert len(client.sample(prompt, 1, PARAMS, True, 20).result(30).topk_prompt_logprobs) == 20000
open(os.environ["TMPDIR"] + "/sampled", "w").close()
"""


@pytest.mark.parametrize("options", ["", "base_url='local'"], ids=["a server", "its own server"])
@in_each_host
def test_sampling(launch: Launch, temporary: Path, sidecar: bool | str, options: str) -> None:
    program = launch(
        CLOSED.replace("**{}", options), sidecar=sidecar, variables={"TINKER_SIDECAR_LOCAL_ENGINE": "sim"}
    )

    program.assert_ends_well()
    assert (temporary / "sampled").exists()
