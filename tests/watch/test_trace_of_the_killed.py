"""The trace of a real program, whichever of its processes is killed."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

from tests.reliability.programs import Launch, Program, in_each_host
from tests.waiting import wait_until
from tinker_sidecar.watch.trace_files import NotOurTraceError
from tinker_sidecar.watch.trace_reading import Recording, read_trace

SAMPLING = """
client = connect()
sample(client, range(40))
say("sampled")
go_on()
sample(client, range(40, 60))
say("sampled again")
go_on()
"""


def traced(
    launch: Launch, temporary: Path, *, sidecar: bool | str, code: str = SAMPLING
) -> tuple[Program, Path]:
    """A program that has sampled 40 times, and its trace."""
    path = temporary / "run.json"
    program = launch(code, sidecar=sidecar, variables={"TINKER_SIDECAR_TRACE": str(path)})
    program.expect("sampled")
    return program, path


def wait_for(path: Path, requests: int) -> Recording:
    """Until there are as many in the trace."""

    def written() -> int:
        try:
            return read_trace(path).requests
        except (FileNotFoundError, NotOurTraceError):  # It is about to be begun, or has just become a part.
            return -1

    wait_until(lambda: written() == requests, show=written)
    return read_trace(path)


@in_each_host
def test_what_is_written_is_there_within_moments(
    launch: Launch, temporary: Path, sidecar: bool | str
) -> None:
    program, path = traced(launch, temporary, sidecar=sidecar)
    recording = wait_for(path, 40)
    assert recording.outcomes == {"finished": 40}
    assert recording.origin.process.startswith(f"{program.pid} ")
    assert len(recording.ends["server"]) == 40


@in_each_host
def test_the_trace_of_a_program_that_is_killed(launch: Launch, temporary: Path, sidecar: bool | str) -> None:
    program, path = traced(launch, temporary, sidecar=sidecar)
    if not sidecar:
        wait_for(path, 40)  # A second may be lost with the engine; the sidecar survives to write it.
    program.process.send_signal(signal.SIGKILL)
    program.wait()
    program.assert_nothing_left()
    recording = read_trace(path)
    assert (recording.requests, recording.torn_lines) == (40, 0)
    if sidecar:
        json.loads(path.read_text())  # It has been ended well.


def test_the_trace_of_a_sidecar_that_is_killed_goes_on(launch: Launch, temporary: Path) -> None:
    program, path = traced(launch, temporary, sidecar=True)
    wait_for(path, 40)
    (sidecar,) = program.sidecars()
    sidecar.kill()
    program.go_on()
    program.expect("sampled again")
    recording = wait_for(path, 60)
    assert recording.files == [path.with_name("run.1.json"), path]
    assert [span.name for span in recording.spans if span.lane == "restarts"] == ["a dead engine is replaced"]
    program.go_on()
    program.wait()
    program.assert_nothing_left()


FAMILY = """
import subprocess
client = connect()
sample(client, range(40))
more = 0 if sys.argv[-1] == "child" else 2
children = [subprocess.Popen([*sys.orig_argv, "child"], stdin=subprocess.DEVNULL) for _ in range(more)]
for child in children:
    child.wait()
say("sampled")
"""


@in_each_host
def test_each_process_of_a_program_has_a_trace(launch: Launch, temporary: Path, sidecar: bool | str) -> None:
    program, path = traced(launch, temporary, sidecar=sidecar, code=FAMILY)
    for _ in range(2):
        program.expect("sampled")
    program.wait()
    program.assert_nothing_left()
    files = sorted(temporary.glob("run*.json"))
    assert len(files) == 3
    assert path in files
    assert all(re.fullmatch(r"run(-\d+)?\.json", file.name) for file in files)
    assert [wait_for(file, 40).requests for file in files] == [40] * 3
