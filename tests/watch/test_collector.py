"""Statistics as Prometheus has them."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from tests.watch.samples import CULPRIT, stats, traffic
from tinker_sidecar.ipc.addresses import parse_address
from tinker_sidecar.ipc.stats import LimitStats, SessionStats, StageStats, Stats, Traffic
from tinker_sidecar.watch.collector import StatsCollector

DOCUMENT = (Path(__file__).parents[2] / "docs/metrics.md").read_text()


def registry(*states: Stats | None) -> CollectorRegistry:
    """One that is told each of the states in turn."""
    turns = iter(states)
    made = CollectorRegistry()
    made.register(StatsCollector(lambda: next(turns)))
    return made


def test_a_busy_engine() -> None:
    text = generate_latest(registry(stats())).decode().splitlines()
    for line in (
        'tinker_sidecar_engine_info{host="sidecar",program="4711",version="0.1.0"} 1.0',
        'tinker_sidecar_requests_total{outcome="finished"} 12000.0',
        'tinker_sidecar_requests_total{outcome="failed"} 3.0',
        'tinker_sidecar_failures_total{error="APIConnectionError"} 3.0',
        'tinker_sidecar_retries_total{cause="429"} 31.0',
        'tinker_sidecar_in_flight{stage="limits"} 1024.0',
        'tinker_sidecar_in_flight{stage="client"} 0.0',
        'tinker_sidecar_request_stage_seconds{quantile="0.99",stage="server"} 13.0',
        'tinker_sidecar_request_stage_seconds_sum{stage="server"} 95.0',
        'tinker_sidecar_request_stage_seconds_count{stage="server"} 100.0',
        "tinker_sidecar_starved_seconds_total 60.0",
        f'tinker_sidecar_gil_held_seconds_total{{place="{CULPRIT.place}",thread="grader"}} 12.8',
        'tinker_sidecar_heartbeat_age_seconds{session="session-1"} 3.0',
        'tinker_sidecar_limit_waiting{limit="server",session="session-1"} 310.0',
        'tinker_sidecar_samplers{queue_state="active"} 1.0',
    ):
        assert line in text


def test_the_document_lists_them_all() -> None:
    types = re.findall(r"^# TYPE (\S+) (\w+)$", generate_latest(registry(stats())).decode(), re.MULTILINE)
    rows = re.findall(r"^\| (`tinker_sidecar_.*?) \| (\w+) \|", DOCUMENT, re.MULTILINE)
    told = [(name, kind) for names, kind in rows for name in re.findall(r"`(\w+)`", names)]
    assert sorted(told) == sorted(types)


def test_an_engine_that_does_not_answer() -> None:
    assert generate_latest(registry(None)).decode().splitlines()[-1] == "tinker_sidecar_engine_up 0.0"


def test_an_engine_that_has_done_nothing() -> None:
    nothing = {name: Traffic(seconds=0.0) for name in ("since_start", "last_10s", "last_60s")}
    idle = stats(in_flight_by_stage={}, sessions=[], samplers=[], gil=[], **nothing)
    made = registry(*5 * [idle])
    assert made.get_sample_value("tinker_sidecar_request_stage_seconds_count", {"stage": "server"}) == 0
    median = {"stage": "server", "quantile": "0.5"}
    assert math.isnan(made.get_sample_value("tinker_sidecar_request_stage_seconds", median) or 0)
    assert made.get_sample_value("tinker_sidecar_starved_seconds_total") == 0


def test_a_limit_that_there_is_not_is_infinite() -> None:
    free = SessionStats(
        session_id="s", base_url="", heartbeat_age=None, limits={"server": LimitStats(used=3, limit=None)}
    )
    made = registry(*2 * [stats(sessions=[free])])
    assert made.get_sample_value("tinker_sidecar_limit", {"session": "s", "limit": "server"}) == math.inf
    assert made.get_sample_value("tinker_sidecar_heartbeat_age_seconds", {"session": "s"}) is None


def test_starved_time_never_shrinks() -> None:
    """As it might by a hair, being a share times a duration; Prometheus would take that for a restart."""
    made = registry(
        stats(since_start=traffic(10.0, starved=0.3)), stats(since_start=traffic(30.0, starved=0.0999999))
    )
    first = made.get_sample_value("tinker_sidecar_starved_seconds_total")
    assert first == pytest.approx(3.0)
    assert made.get_sample_value("tinker_sidecar_starved_seconds_total") == first


def test_the_longest_holders_only() -> None:
    holders = [
        type(CULPRIT)(place=f"f() at f.py:{line}", thread="t", seconds=1.0, share=0.01) for line in range(100)
    ]
    text = generate_latest(registry(stats(gil=holders))).decode()
    assert text.count("tinker_sidecar_gil_held_seconds_total{") == 20


def test_stages_of_all_time_and_of_the_last_minute() -> None:
    old = traffic(3600.0, stages={"fetch": StageStats(count=7, total=1.5, p50=0.1)})
    made = registry(*2 * [stats(since_start=old, last_60s=traffic(60.0, stages={}))])
    assert made.get_sample_value("tinker_sidecar_request_stage_seconds_sum", {"stage": "fetch"}) == 1.5
    median = {"stage": "fetch", "quantile": "0.5"}
    assert math.isnan(made.get_sample_value("tinker_sidecar_request_stage_seconds", median) or 0)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9464", ("127.0.0.1", 9464)),
        (" 0 ", ("127.0.0.1", 0)),
        ("0.0.0.0:9464", ("0.0.0.0", 9464)),
        ("localhost:1", ("localhost", 1)),
        ("[::1]:9464", ("::1", 9464)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "host", ":1", "host:", "65536", "-1", "1.5", "::1:9464", "a@b:1", "http://a:1"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"not \[HOST:\]PORT"):
        parse_address(text)
