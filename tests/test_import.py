"""`import tinker_client` is light: what is slow or optional comes when it is asked for."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"asyncio", "numpy", "transformers", "torch", "wreq", "uvloop", "zmq", "google.protobuf"}


def test_nothing_heavy_comes_along() -> None:
    program = "import sys, tinker_client; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", program], text=True).split()

    assert HEAVY.intersection(loaded) == set()
