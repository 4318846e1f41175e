"""A real Prometheus, which scrapes what a test gives it and answers questions about it."""

from __future__ import annotations

import json
import math
import shutil
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import wait_until

__all__ = ["PROMTOOL", "Prometheus", "prometheus"]

PROMTOOL = shutil.which("promtool")
_PROMETHEUS = shutil.which("prometheus")
_CONFIGURATION = """
global: {scrape_interval: 1s}
scrape_configs: [{job_name: tinker, static_configs: [{targets: TARGETS}]}]
"""


class Prometheus:
    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._base}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The series that a PromQL query gives. Fails the test if Prometheus finds fault with it."""
        url = f"{self._base}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                told = json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{query}: {error.read().decode()}") from None
        assert told["status"] == "success", told
        result: list[dict[str, Any]] = told["data"]["result"]
        return result

    def value(self, query: str) -> float:
        """The one number that a query gives; NaN while there is none."""
        series = self.ask(query)
        return float(series[0]["value"][1]) if len(series) == 1 else math.nan


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Callable[..., Prometheus]]:
    """Start one that scrapes the addresses given, once a second."""
    if _PROMETHEUS is None:
        pytest.skip("prometheus is not on PATH (Debian: apt-get install prometheus)")
    with ExitStack() as stack:

        def start(*targets: str) -> Prometheus:
            configuration = tmp_path / "prometheus.yml"
            configuration.write_text(_CONFIGURATION.replace("TARGETS", json.dumps(targets)))
            port = _free_port()
            with (tmp_path / "prometheus.log").open("wb") as log:
                process = subprocess.Popen(
                    [
                        str(_PROMETHEUS),
                        f"--config.file={configuration}",
                        f"--storage.tsdb.path={tmp_path / 'data'}",
                        f"--web.listen-address=127.0.0.1:{port}",
                    ],
                    stdout=log,
                    stderr=log,
                )
            stack.callback(process.wait)
            stack.callback(process.kill)
            running = Prometheus(port)
            wait_until(running.is_ready, show=(tmp_path / "prometheus.log").read_text)
            return running

        yield start


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
