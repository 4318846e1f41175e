"""The official SDK's clients in Ray's workers."""

from __future__ import annotations

import json

import pytest

from tests.ray.conftest import HERE, Drive, Ray, marks
from tests.ray.test_sharing import TOKENS
from tests.waiting import wait_until
from tinker_client.local_server import LocalServer
from tinker_sidecar.local_server.engines.sim import BASE_MODEL

pytestmark = marks
PROGRAM = HERE / "drop_in.py"


def test_workers_of_the_programs_own_cluster_inherit_the_launcher(
    ray: Ray, drive: Drive, sim_server: LocalServer
) -> None:
    command = "-m", "tinker_client", PROGRAM, sim_server.base_url, BASE_MODEL
    driver = drive(*command, TINKER_SUBPROCESS_SAMPLING="1")
    assert json.loads(driver.finish().splitlines()[-1]) == [["RoutedFuture", TOKENS]] * 2
    wait_until(lambda: not ray.left(), show=ray.left)


@pytest.mark.parametrize("sampling", ["shared", "1"])
def test_workers_of_a_cluster_install_it_by_a_hook(
    ray: Ray, drive: Drive, sim_server: LocalServer, sampling: str
) -> None:
    command = PROGRAM, sim_server.base_url, BASE_MODEL, "tinker_client.install"
    driver = drive(*command, TINKER_SUBPROCESS_SAMPLING=sampling, RAY_ADDRESS=ray.address)
    assert json.loads(driver.finish().splitlines()[-1]) == [["RoutedFuture", TOKENS]] * 2
    wait_until(lambda: not ray.left(), show=ray.left)
