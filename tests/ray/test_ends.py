"""Actors are killed, a node is lost, the driver is gone: no sidecar or folder stays, and the rest goes on."""

from __future__ import annotations

import pytest

from tests.ray.conftest import HERE, Drive, Ray, marks
from tests.ray.test_sharing import TOKENS
from tests.waiting import wait_until
from tinker_client.local_server import LocalServer

pytestmark = [*marks, pytest.mark.parametrize("sampling", ["shared", "1"])]


def test_actors_die(ray: Ray, drive: Drive, sim_server: LocalServer, sampling: str) -> None:
    driver = drive(HERE / "driver.py", "actor_dies", ray.address, sim_server.base_url, sampling)
    before = {(one["worker"], one["sidecar"]) for one in driver.hear()}
    assert [one["tokens"] for one in driver.hear()] == [TOKENS] * 2 * 50
    left = {sidecar for _, sidecar in before}
    wait_until(lambda: set(ray.sidecars("node0")) == left, show=lambda: ray.sidecars("node0"))
    wait_until(lambda: len(ray.folders("node0")) == len(left), show=lambda: ray.folders("node0"))

    def attached() -> set[tuple[int, ...]]:
        driver.go_on()
        after = driver.hear()
        assert {(one["worker"], one["sidecar"]) for one in after} == before
        return {tuple(sorted(one["attached"])) for one in after}

    if sampling == "shared":  # Ray takes a moment to end an actor that was dropped.
        wait_until(lambda: attached() == {tuple(sorted(dict(before)))}, show=attached)
    else:
        assert attached() == {()}
    driver.finish()
    wait_until(lambda: not ray.left(), show=ray.left)


def test_a_node_is_lost(ray: Ray, drive: Drive, sim_server: LocalServer, sampling: str) -> None:
    lost = f"lost-{sampling}"  # Ray takes a while to know that a node is lost: its name must not come again.
    ray.add(lost)
    driver = drive(HERE / "driver.py", "node_lost", ray.address, sim_server.base_url, sampling)
    assert driver.hear() == "ready"
    assert ray.sidecars(lost)
    ray.lose(lost)
    driver.go_on()
    results, after = driver.hear(), driver.hear()
    assert [one["tokens"] for one in results] == [TOKENS] * 2 * 50
    assert {one["sidecar"] for one in results} == {one["sidecar"] for one in after}
    wait_until(lambda: not ray.sidecars(lost) and not ray.folders(lost), show=ray.left)
    driver.finish()
    wait_until(lambda: not ray.left(), show=ray.left)


def test_the_driver_is_gone(ray: Ray, drive: Drive, sim_server: LocalServer, sampling: str) -> None:
    driver = drive(HERE / "driver.py", "driver_gone", ray.address, sim_server.base_url, sampling)
    assert driver.hear() == "ready"
    assert ray.sidecars("node0")
    assert ray.sidecars("node1")
    driver.process.kill()
    wait_until(lambda: not ray.left(), show=ray.left)
