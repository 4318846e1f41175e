"""The actors and tasks of a node share its sidecar, or have one each; however a client has come to them."""

from __future__ import annotations

from collections import defaultdict

from tests.ray.conftest import HERE, Drive, Ray, marks
from tests.waiting import wait_until
from tinker_client.local_server import LocalServer
from tinker_sidecar.local_server.engines.sim import expected_tokens

pytestmark = marks
TOKENS = expected_tokens(range(100, 110), 5, 0, 8)
"""What the driver's actors ask for."""


def test_those_of_a_node_share_its_sidecar(ray: Ray, drive: Drive, sim_server: LocalServer) -> None:
    driver = drive(HERE / "driver.py", "kinds", ray.address, sim_server.base_url, "shared")
    told = driver.hear()
    assert len(told) == 2 * (4 * 4 + 2)
    assert all(one["tokens"] == TOKENS for one in told)
    assert all("samples through a shared sidecar" in one["status"] for one in told)
    sidecars, workers = defaultdict(set), defaultdict(set)
    for one in told:
        sidecars[one["node"]].add(one["sidecar"])
        workers[one["node"]].add(one["worker"])
        assert one["worker"] in one["attached"]
    [first], [second] = sidecars["node0"], sidecars["node1"]
    assert first != second
    assert min(len(of_node) for of_node in workers.values()) >= 4
    driver.finish()
    wait_until(lambda: not ray.left(), show=ray.left)


def test_or_each_has_its_own(ray: Ray, drive: Drive, sim_server: LocalServer) -> None:
    driver = drive(HERE / "driver.py", "kinds", ray.address, sim_server.base_url, "1")
    told = driver.hear()
    assert all(one["tokens"] == TOKENS for one in told)
    assert all("samples through the sidecar" in one["status"] for one in told)
    pairs = {(one["worker"], one["sidecar"]) for one in told}
    assert len(pairs) == len({worker for worker, _ in pairs}) == len({sidecar for _, sidecar in pairs})
    driver.finish()
    wait_until(lambda: not ray.left(), show=ray.left)
