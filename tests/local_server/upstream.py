"""The stand-in for an inference server, from a test's side."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from tests.waiting import wait_until

__all__ = ["Upstream", "free_port", "start_upstream"]


@dataclass
class Upstream:
    """One that can be killed, started again at the same address, and told to make trouble."""

    kind: str
    flags: tuple[str, ...]
    port: int
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.local_server.inference_stand_in"]
        self.process = subprocess.Popen([*command, self.kind, str(self.port), *self.flags])
        wait_until(self._answers)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def make_trouble(self, status: int, times: int, **headers: str) -> None:
        """The next requests to generate are answered with `status`."""
        self._post({"status": status, "times": times, "headers": headers})

    def toggle(self, *flags: str) -> None:
        self._post({"flags": flags})

    def seen(self) -> dict[str, Any]:
        """The `bodies` of all requests to generate, how many were `hung_up` on, and what is set up."""
        with urlopen(f"{self.url}/test/seen") as answer:
            seen: dict[str, Any] = json.load(answer)
        return seen

    def _post(self, body: object) -> None:
        with urlopen(Request(f"{self.url}/test/trouble", json.dumps(body).encode())):
            pass

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.url}/health"):
                return True
        except URLError:
            return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@contextmanager
def start_upstream(kind: str, *flags: str) -> Iterator[Upstream]:
    upstream = Upstream(kind, flags, free_port())
    upstream.start()
    try:
        yield upstream
    finally:
        upstream.kill()
