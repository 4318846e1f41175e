"""One set of calls, on every engine, three ways: the official SDK, ours in process, through the sidecar."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.official.environment import last_line
from tools.official_sdk import VERSIONS, python_with
from tools.served_engines import ENGINES, Served

RUN = Path(__file__).with_name("run.py")
OURS = (Path(sys.executable), "tinker_client")
OFFICIAL = "tinker"


def told(python: Path, package: str, served: Served, host: str = "0") -> dict[str, Any]:
    """What every scenario was told."""
    environment = os.environ | {"TINKER_SUBPROCESS_SAMPLING": host}
    command = [str(python), str(RUN), package, served.base_url, served.model, served.adapter]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    told: dict[str, Any] = last_line(done)
    return told


def rehearse(served: Served) -> dict[str, Any]:
    return told(*OURS, served)


@pytest.mark.timeout(2000)
def test_both_hosts_are_told_the_same(engine_name: str) -> None:
    with ENGINES[engine_name].serving(rehearse) as serve:
        in_process, sidecar = (told(*OURS, serve(), host) for host in ("0", "1"))
    assert differences(in_process, sidecar) == {}


@pytest.mark.interop
@pytest.mark.timeout(2400)  # The first one builds the environment.
def test_the_official_sdk_is_told_the_same(engine_name: str) -> None:
    with ENGINES[engine_name].serving(rehearse) as serve:
        official = told(python_with(VERSIONS[-1]), OFFICIAL, serve())
        ours = told(*OURS, serve(), "1")
    assert differences(ours, official) == {}


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What the two were told, by scenario, of those that failed or were not told the same."""
    assert ours.keys() == theirs.keys()
    return {
        name: (ours[name], theirs[name])
        for name in ours
        if not (
            are_refused_alike(ours[name], theirs[name])
            if "failed" in ours[name]
            else same(ours[name], theirs[name])
        )
    }


def are_refused_alike(ours: dict[str, str], theirs: dict[str, str]) -> bool:
    """Whether the engine cannot do what was asked, and says so: `vLLM 0.32.0 cannot …`."""
    words = ours["failed"].strip().rpartition("\n")[2].partition(": ")[2]
    is_the_engines = re.match(r"(vLLM|SGLang) [\d.]+ (cannot|takes|answers 400)", words) is not None
    return is_the_engines and words in theirs.get("failed", "")  # The official SDK adds words of its own.


def same(ours: Any, theirs: Any) -> bool:
    """As JSON. What else a model computes at the time shows in the last digits of a logprob."""
    if isinstance(ours, float) and isinstance(theirs, float):
        return abs(ours - theirs) < 1e-4
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return bool(ours == theirs)
