"""A program that samples and holds its GIL is told by its own log which line of it does."""

from __future__ import annotations

import logging
import re
import threading
import time
from pathlib import Path

import pytest

import tinker_client
from tests.connection import PARAMS, Connect, assert_right, prompt
from tests.waiting import wait_until
from tests.watch.gil_programs import WAITED, line_of


def hold(length: int) -> None:
    """Keep the GIL in a single call."""
    re.match("(a+)+$", "a" * length + "b")  # holding


def length_for(seconds: float) -> int:
    """What `hold` has to be given to take that long, or up to twice that."""
    length = 10
    while (took := match(length)) < 0.05:
        length += 1
    while took < seconds:
        length, took = length + 1, took * 2
    return length


def match(length: int) -> float:
    """The CPU time that it takes."""
    begin = time.thread_time()
    re.match("(a+)+$", "a" * length + "b")
    return time.thread_time() - begin


def test_the_line_that_holds_the_gil_is_named(
    host: str,
    connect: Connect,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    trace = tmp_path / "run.json"
    monkeypatch.setenv("TINKER_SIDECAR_TRACE", str(trace))
    monkeypatch.setenv("TINKER_SIDECAR_WHO", "1")
    client = connect("--latency", "0.5").sampling_client()
    length = length_for(3.0)
    line = line_of(Path(__file__).read_text(), "# holding")
    place = f"hold() at {Path(__file__).name}:{line} (re.match)"
    assert_right(0, client.sample(prompt(0), 2, PARAMS))  # Now whoever looks is ready.
    futures = [client.sample(prompt(number), 2, PARAMS) for number in range(4)]
    grader = threading.Thread(target=hold, args=[length], name="grader")
    grader.start()
    grader.join()
    for number, future in enumerate(futures):
        assert_right(number, future)
    wait_until(lambda: warnings(caplog), show=lambda: caplog.messages)
    told = rf'{WAITED}; GIL held by {re.escape(place)}, thread "grader"'
    assert re.fullmatch(told, warnings(caplog)[0])
    wait_until(lambda: tinker_client.stats().gil)
    assert [(holder.place, holder.thread) for holder in tinker_client.stats().gil] == [(place, "grader")]
    tinker_client.shutdown()
    wait_until(lambda: place in trace.read_text(), show=trace.read_text)


def test_it_can_be_turned_off(
    host: str, connect: Connect, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINKER_SIDECAR_WHO", "0")
    client = connect("--latency", "0.5").sampling_client()
    length = length_for(3.0)
    future = client.sample(prompt(1), 2, PARAMS)
    hold(length)
    assert_right(1, future)
    time.sleep(1)
    assert warnings(caplog) == []
    assert tinker_client.stats().gil == []


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING and record.getMessage().startswith("results waited")
    ]
