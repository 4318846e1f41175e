"""A real Ray of two nodes on this machine, more when a test wants them, and programs that use it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.sidecars import sidecars_in
from tools.official_sdk import VERSIONS, python_with

__all__ = ["Drive", "Driver", "Ray", "marks"]

HERE = Path(__file__).parent
PACKAGES = ("ray", "sympy", "rich")
"""With what the example needs."""

SAYS = "says "
"""How the lines of `driver.py` begin."""

marks = [
    pytest.mark.interop,
    pytest.mark.timeout(900),  # The first one builds the environment.
    # Read at import: tests run without any TINKER_ variable.
    pytest.mark.skipif("TINKER_SIDECAR_RAY" not in os.environ, reason="`make ray` runs it"),
]


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> None:
    """In place of the one that all tests have: Ray's workers come and go while its nodes stay."""


class Ray:
    """The cluster. Each node has a `TMPDIR` of its own below `root`, as a machine has a `/tmp`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.python = python_with(VERSIONS[-1], *PACKAGES, ours=True)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder("home")),  # Without a key.
            "TMPDIR": str(self._folder("driver")),
            "RAY_TMPDIR": str(root),
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
            "HF_HUB_OFFLINE": "1",
            "TINKER_SIDECAR_LINGER": "0.5",
        }
        folders = [str(self._folder(name)) for name in ("node0", "node1")]
        self._nodes = subprocess.Popen(
            [self.python, HERE / "nodes.py", *folders],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self.environment,
        )
        self.address = self._hear()

    def add(self, name: str) -> None:
        self._tell(f"add {self._folder(name)}")

    def lose(self, name: str) -> None:
        self._tell(f"lose {self.root / name}")

    def sidecars(self, node: str) -> list[int]:
        """The processes of those that live there."""
        return [process.pid for process in sidecars_in(self.root / node)]

    def folders(self, node: str) -> list[Path]:
        return sorted((self.root / node).glob("tinker-sidecar*"))

    def left(self) -> list[object]:
        """What of ours is on any node."""
        nodes = [path.name for path in self.root.iterdir()]
        return [one for node in nodes for one in (*self.sidecars(node), *self.folders(node))]

    def close(self) -> None:
        assert self._nodes.stdin is not None
        assert self._nodes.stdout is not None
        self._nodes.stdin.close()
        self._nodes.wait(60)
        self._nodes.stdout.close()

    def _folder(self, name: str) -> Path:
        folder = self.root / name
        folder.mkdir()
        return folder

    def _tell(self, command: str) -> None:
        assert self._nodes.stdin is not None
        self._nodes.stdin.write(command + "\n")
        self._nodes.stdin.flush()
        assert self._hear() == "done"

    def _hear(self) -> str:
        assert self._nodes.stdout is not None
        line = self._nodes.stdout.readline().strip()
        assert line, "the cluster has ended"
        return line


class Driver:
    """A program that uses the cluster."""

    def __init__(self, ray: Ray, *command: object, **variables: str) -> None:
        self.errors_file = tempfile.TemporaryFile("w+")  # noqa: SIM115  # `end` closes it.
        self.process = subprocess.Popen(
            [ray.python, *map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors_file,
            text=True,
            env={**ray.environment, "TINKER_API_KEY": "tml-tests", **variables},
        )

    def hear(self) -> Any:
        """What it says next, among what Ray says there of workers that die."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(SAYS):
                return json.loads(line.removeprefix(SAYS))
        raise AssertionError(self.errors())

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def finish(self) -> str:
        """What it still says, once it has ended well."""
        output, _ = self.process.communicate(timeout=240)
        # The official SDK's HTTP library may abort a program that is done.
        assert self.process.returncode in (0, -signal.SIGABRT), self.errors()
        return output

    def errors(self) -> str:
        self.errors_file.seek(0)
        return self.errors_file.read()

    def end(self) -> None:
        """Whatever it does."""
        self.process.kill()
        self.process.communicate()
        self.errors_file.close()


Drive = Callable[..., Driver]


@pytest.fixture(scope="session")
def ray() -> Iterator[Ray]:
    # Ray has sockets in there, so its path must be short.
    root = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    cluster = Ray(root)
    yield cluster
    cluster.close()
    shutil.rmtree(root)


@pytest.fixture
def drive(ray: Ray) -> Iterator[Drive]:
    """Start a program: a path, arguments and variables."""
    with ExitStack() as stack:

        def start(*command: object, **variables: str) -> Driver:
            driver = Driver(ray, *command, **variables)
            stack.callback(driver.end)
            return driver

        yield start
