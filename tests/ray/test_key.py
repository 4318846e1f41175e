"""A key that only the driver's environment has does not reach the workers, and the error says what does."""

from __future__ import annotations

import pytest

from tests.ray.conftest import HERE, Drive, Ray, marks
from tinker_client.local_server import LocalServer

pytestmark = marks


@pytest.mark.parametrize("sampling", ["shared", "1", "0"])
def test_the_error_names_runtime_env(ray: Ray, drive: Drive, sim_server: LocalServer, sampling: str) -> None:
    driver = drive(HERE / "driver.py", "no_key", ray.address, sim_server.base_url, sampling)
    for _ in ("a client that was passed", "a client that is made there"):
        assert 'ray.init(runtime_env={"env_vars": {"TINKER_API_KEY": ...}})' in driver.hear()
    driver.finish()
