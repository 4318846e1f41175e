"""Whatever is slow: the stage that is to blame has most of the time."""

from __future__ import annotations

import re
import time

import pytest

import tinker_client
from tests.connection import PARAMS, Connect, flag, option, prompt
from tests.waiting import wait_until
from tinker_client import SamplingClient

CAUSES = {
    "server": ["--latency=0.5"],
    "limits": ["--slots=2", "--latency=0.2"],
    "submit": option("fault", "asample:delay,seconds=0.5"),
    "fetch": option("fault", "retrieve_future:delay,seconds=0.5"),
}


def shares() -> dict[str, float]:
    """Of the time of all requests that have ended, when all have."""
    wait_until(lambda: tinker_client.stats().in_flight == 0, show=tinker_client.stats)
    stages = tinker_client.stats().since_start.stages
    total = sum(stage.total for stage in stages.values())
    return {name: stage.total / total for name, stage in stages.items()}


def sample(client: SamplingClient, count: int) -> None:
    for future in [client.sample(prompt(number), 2, PARAMS) for number in range(count)]:
        future.result(60)


@pytest.mark.parametrize("stage", CAUSES)
def test_a_slow_world(connect: Connect, stage: str) -> None:
    client = connect(*CAUSES[stage]).sampling_client()
    sample(client, 30)
    found = shares()
    assert found[stage] == max(found.values()), found


def test_a_server_without_the_common_poll(connect: Connect) -> None:
    client = connect("--latency=0.5", *flag("sample_use_retrieve_futures", False)).sampling_client()
    sample(client, 30)
    found = shares()
    assert found["server"] > 0.6, found


def long_enough(seconds: float) -> int:
    """The length of a text over which the GIL is held for at least so many seconds."""
    length = 18
    while hold_the_gil(length) < seconds / 4:
        length += 1
    return length + 2  # Each letter doubles it.


def hold_the_gil(length: int) -> float:
    """By one call of C; returns the processor time that it took."""
    begin = time.thread_time()
    re.match(r"(a+)+$", "a" * length + "b")
    return time.thread_time() - begin


def test_a_program_that_holds_the_gil(connect: Connect) -> None:
    """What was ready meanwhile waited for the program, in whichever host."""
    client = connect("--latency=0.2").sampling_client()
    length = long_enough(3.0)
    futures = [client.sample(prompt(number), 2, PARAMS) for number in range(30)]
    time.sleep(0.1)
    hold_the_gil(length)
    for future in futures:
        future.result(60)
    found = shares()
    assert found["delivery"] == max(found.values()), found
    assert tinker_client.stats().since_start.starved > 0.2
