"""Containers on one machine, even if they share a temporary folder: each has a shared sidecar of its own."""

from __future__ import annotations

import shutil

import pytest

from tests.reliability.programs import permitted
from tests.shared.conftest import Place, Start
from tests.waiting import wait_until
from tinker_client.local_server import LocalServer

CONTAINERS = {
    "pid": ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc"),
    "mount": ("unshare", "--mount"),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_each_has_one(place: Place, start: Start, sim_server: LocalServer, kind: str) -> None:
    if not permitted(*CONTAINERS[kind], "true"):
        pytest.skip("no permission to make a namespace")
    outside, inside = start(sim_server).ready(), start(sim_server, by=CONTAINERS[kind]).ready()
    for program in (outside, inside):
        program.do("submit 0 5")
        assert program.do("wait") == "5"
        assert "through a shared sidecar" in program.do("status")
    assert len(place.folders()) == len(place.sidecars()) == 2
    assert inside.do("submit 0 5") == "5"
    outside.process.kill()
    assert inside.do("wait") == "5"
    inside.leave()
    wait_until(lambda: not place.sidecars())
    if kind == "pid":  # All in it are killed with its first process: the next sidecar tidies up behind them.
        [folder] = place.folders()
        shutil.rmtree(folder)
