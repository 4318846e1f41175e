"""A program and its sidecar are killed together, so that neither tidies up: somebody else does."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.reliability.programs import Launch
from tests.waiting import has_ended, wait_until

SAMPLE = "sample(connect(), range(10)); say('sampled'); go_on()"
RAY = {"RAY_RAYLET_PID": "1"}
"""What a worker of Ray's has."""


def keepers(temporary: Path) -> list[psutil.Process]:
    """Processes that wait to remove a folder in there."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if (process.info["cmdline"] or [""])[-1].startswith(str(temporary / "tinker-sidecar-"))
    ]


@pytest.mark.skipif(not Path("/bin/sh").exists(), reason="needs a shell")
def test_in_a_worker_of_rays(launch: Launch, temporary: Path) -> None:
    """Which ends so each time: Ray kills its children, and then itself."""
    program = launch(SAMPLE, variables=RAY)
    program.expect("sampled")
    assert len(keepers(temporary)) == 1
    [sidecar] = program.sidecars()
    program.process.send_signal(signal.SIGSTOP)
    sidecar.kill()
    program.process.kill()

    program.assert_nothing_left()
    wait_until(lambda: not keepers(temporary))


def test_in_a_worker_that_ends_well(launch: Launch, temporary: Path) -> None:
    program = launch(SAMPLE, variables=RAY)
    program.expect("sampled")
    program.go_on()
    program.assert_ends_well()
    wait_until(lambda: not keepers(temporary))


def test_the_sidecar_of_a_worker_dies_alone(launch: Launch, temporary: Path) -> None:
    """The next one has a folder of its own."""
    program = launch(
        SAMPLE.replace("go_on()", "go_on(); sample(connect(), range(10)); say('again'); go_on()"),
        variables=RAY,
    )
    program.expect("sampled")
    [sidecar] = program.sidecars()
    sidecar.kill()
    wait_until(lambda: has_ended(sidecar.pid))
    program.go_on()
    program.expect("again")
    program.go_on()
    assert program.wait().status == 0
    program.assert_nothing_left()


def test_an_empty_folder_is_removed_by_the_next(launch: Launch, temporary: Path) -> None:
    """What is left of one whose program was killed as it was about to remove it, or had just made it."""
    old, young, full = (temporary / f"tinker-sidecar-{name}" for name in ("old", "young", "full"))
    for folder in (old, young, full):
        folder.mkdir()
    (full / "somebody's").touch()
    for folder in (old, full):
        os.utime(folder, (0, 0))
    program = launch(SAMPLE)
    program.expect("sampled")
    assert not old.exists()
    assert young.exists()
    assert full.exists()
