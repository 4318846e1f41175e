"""A sidecar that does without what only Linux has."""

from __future__ import annotations

import os
from pathlib import Path

from tests.reliability.programs import Launch

LARGE = """
client = connect()
prompt = types.ModelInput.from_ints([number % 30000 for number in range(20000)])
assert len(client.sample(prompt, 1, PARAMS, True, 20).result(30).topk_prompt_logprobs) == 20000
say("a large result")
go_on()
"""


def test_none_of_our_processes_uses_what_only_linux_has(launch: Launch) -> None:
    program = launch(LARGE, variables={"TINKER_SIDECAR_PORTABLE": "1"})
    program.expect("a large result")

    [sidecar] = program.sidecars()
    assert os.sched_getscheduler(sidecar.pid) == os.SCHED_OTHER
    assert "MALLOC_TRIM_THRESHOLD_" not in sidecar.environ()
    kinds = [str(path.readlink()) for path in Path(f"/proc/{sidecar.pid}/fd").iterdir()]
    assert [kind for kind in kinds if "pidfd" in kind or "memfd" in kind] == []
    kinds = [str(path.readlink()) for path in Path(f"/proc/{program.pid}/fd").iterdir()]
    assert [kind for kind in kinds if "eventpoll" in kind] == EPOLLS_OF_ZEROMQ
    program.go_on()
    program.assert_ends_well()


EPOLLS_OF_ZEROMQ = 2 * ["anon_inode:[eventpoll]"]
