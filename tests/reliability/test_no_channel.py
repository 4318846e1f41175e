"""A sidecar that cannot be reached is ended, whatever the program ran out of on the way to it."""

from __future__ import annotations

import pytest

from tests.reliability.programs import Launch

# With ever more descriptors to be had, the start fails later and later, and at last it does not.
FEW_DESCRIPTORS = """
import psutil, resource
import tinker_client
from tinker_client import SidecarStartupError

sample(connect(), range(20))  # What is imported for that needs no descriptor any more.
tinker_client.shutdown()
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
client = None
failures = set()
for more in range(1, 100, 3):
    taken = max(map(int, os.listdir("/dev/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken + more, hard))
    try:
        client = connect()
        break
    except SidecarStartupError as error:
        failures.add(str(error).partition(":")[0])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    assert psutil.Process().children() == [], (more, failures)
assert any("cannot start" in failure for failure in failures)
assert any("cannot connect" in failure for failure in failures)
sample(client, range(20))
say("sampled")
"""


@pytest.mark.parametrize("portable", ["0", "1"], ids=["", "portable"])
def test_out_of_descriptors(launch: Launch, portable: str) -> None:
    program = launch(FEW_DESCRIPTORS, variables={"TINKER_SIDECAR_PORTABLE": portable})
    program.expect("sampled")
    program.assert_ends_well()
