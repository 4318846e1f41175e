"""`examples/ray_rollouts.py` goes on where it was stopped, and without the actors that die."""

from __future__ import annotations

import json
from pathlib import Path

import psutil

from tests.ray.conftest import Drive, Ray, marks
from tests.waiting import wait_until
from tinker_client.local_server import LocalServer

pytestmark = marks
EXAMPLE = Path(__file__).parents[2] / "examples" / "ray_rollouts.py"
PROBLEMS = 120
STARTING = 120.0
"""Seconds in which a program must have its first groups: Ray starts its workers meanwhile."""


def workers() -> list[psutil.Process]:
    processes = psutil.process_iter(["cmdline"])
    return [
        process for process in processes if "ray::RolloutWorker" in " ".join(process.info["cmdline"] or [])
    ]


def test_it_is_killed_and_goes_on(ray: Ray, drive: Drive, tiny_server: LocalServer, temporary: Path) -> None:
    file = temporary / "rollouts.jsonl"

    def start() -> object:
        return drive(
            *(
                EXAMPLE,
                "--problems",
                PROBLEMS,
                "--group-size",
                4,
                "--rollouts",
                file,
                "--groups-per-worker",
                4,
            ),
            RAY_ADDRESS=ray.address,
            TINKER_BASE_URL=tiny_server.base_url,
        )

    def lines() -> list[str]:
        return file.read_text().splitlines() if file.exists() else []

    first = start()
    wait_until(lambda: len(lines()) > 10, show=first.errors, patience=STARTING)
    first.process.kill()
    wait_until(lambda: not ray.left() and not workers(), show=ray.left)
    with file.open("a") as end:
        end.write('{"prompt": "cut sho')
    had = len(lines()) - 1
    assert had < PROBLEMS

    second = start()
    wait_until(lambda: len(lines()) > had + 10, show=second.errors, patience=STARTING)
    workers()[0].kill()
    printed = second.finish()
    groups = [json.loads(line) for line in lines()]
    assert len({group["prompt"] for group in groups}) == len(groups) == PROBLEMS
    assert all(len(group["tokens"]) == len(group["rewards"]) == 4 for group in groups)
    assert f"{PROBLEMS} groups in {file}, {PROBLEMS - had} of them new" in printed
    assert "samples through a shared sidecar" in printed
    wait_until(lambda: not ray.left(), show=ray.left)
