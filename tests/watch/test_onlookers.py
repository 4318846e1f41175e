"""A trace and metrics of a real engine, in either host."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import tinker_client
from tests.connection import PARAMS, Connect, option, prompt
from tests.waiting import wait_until
from tests.watch.test_blame import hold_the_gil, long_enough
from tinker_sidecar.watch.trace_reading import read_trace


def events(path: Path) -> list[dict[str, Any]]:
    """What a viewer reads: each line is one event or several."""
    text = path.read_text()
    read: list[dict[str, Any]] = json.loads(text[: text.rindex("},") + 1] + "]")
    return read


def test_a_trace(connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    monkeypatch.setenv("TINKER_SIDECAR_TRACE", str(path))
    connection = connect(*option("fault", "asample:429,first=3"), "--latency=0.1")
    connection.check_samples(5)
    unfinished = connection.sampling_client()
    wait_until(lambda: tinker_client.stats().in_flight == 0)
    tinker_client.shutdown()
    assert unfinished is not None
    read = events(path)
    outcomes = [event["args"]["outcome"] for event in read if "outcome" in event.get("args", {})]
    assert outcomes == ["finished"] * 5
    begun = [event["name"] for event in read if event["ph"] == "b"]
    assert all(any(stage in name for name in begun) for stage in ("limits", "submit", "server")), begun
    assert [span.name for span in read_trace(path).spans if span.lane == "throttled"] == ["429"] * 3
    assert any(event["ph"] == "C" for event in read)


def test_a_trace_blames_a_program_that_holds_the_gil(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As the figures do, in whichever host."""
    path = tmp_path / "run.json"
    monkeypatch.setenv("TINKER_SIDECAR_TRACE", str(path))
    client = connect("--latency=0.2").sampling_client()
    length = long_enough(3.0)
    futures = [client.sample(prompt(number), 2, PARAMS) for number in range(30)]
    time.sleep(0.1)
    hold_the_gil(length)
    for future in futures:
        future.result(60)
    tinker_client.shutdown()
    seconds = {stage: sum(times) for stage, times in read_trace(path).seconds.items()}
    assert seconds["delivery"] == max(seconds.values()), seconds


def test_what_is_unfinished_is_drawn_when_the_engine_ends(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "run.json"
    monkeypatch.setenv("TINKER_SIDECAR_TRACE", str(path))
    client = connect("--latency=60").sampling_client()
    future = client.sample(tinker_client.ModelInput.from_ints([1]), 1, tinker_client.SamplingParams())
    wait_until(lambda: tinker_client.stats().in_flight_by_stage["server"] == 1)
    tinker_client.shutdown()
    assert future.exception() is not None
    wait_until(lambda: "unfinished" in path.read_text(), show=path.read_text)


def test_a_file_that_cannot_be_written(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning, and sampling goes on."""
    monkeypatch.setenv("TINKER_SIDECAR_TRACE", str(tmp_path / "no folder" / "run.json"))
    connect().check_samples(5)
    wait_until(lambda: "run.json" in caplog.text, show=lambda: caplog.text)
    assert caplog.text.count("run.json") == 1


def test_metrics(connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("TINKER_SIDECAR_METRICS", "39464")
    caplog.set_level("INFO", "tinker_sidecar")
    connect().check_samples(5)
    wait_until(lambda: "metrics of process" in caplog.text, show=lambda: caplog.text)
    url = caplog.text.partition("are at ")[2].split()[0]

    def page() -> str:
        with urllib.request.urlopen(url, timeout=10) as answer:
            text: str = answer.read().decode()
            return text

    assert "tinker_sidecar_requests_submitted_total 5.0" in page()
    # The program has its results a moment before the sidecar hears that it has.
    wait_until(lambda: 'tinker_sidecar_request_stage_seconds_count{stage="server"} 5.0' in page(), show=page)
