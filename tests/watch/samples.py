"""Statistics as an engine may give them, for what shows them to people and to Prometheus."""

from __future__ import annotations

from typing import Any

from tinker_sidecar.ipc.stats import (
    STAGES,
    GilHolder,
    LimitStats,
    ProcessStats,
    RequestStats,
    SamplerStats,
    SessionStats,
    StageStats,
    Stats,
    Traffic,
)

__all__ = ["BUSY", "CULPRIT", "pending", "stats", "traffic"]

CULPRIT = GilHolder(place="grade() at grader.py:41 (re.match)", thread="grader", seconds=12.8, share=0.8)


def traffic(seconds: float, **changes: Any) -> Traffic:
    """A busy period: 100 samples a second, and most of the time in the server."""
    stages = {
        stage: StageStats(count=100, total=1.0, p50=0.01, p90=0.02, p99=0.03, max=0.04) for stage in STAGES
    }
    stages["server"] = StageStats(count=100, total=95.0, p50=1.8, p90=9.0, p99=13.0, max=14.0)
    values: dict[str, Any] = {
        "seconds": seconds,
        "submitted": round(110 * seconds),
        "finished": round(100 * seconds),
        "failed": {"APIConnectionError": 3},
        "cancelled": 2,
        "retried": {"429": 31, "connection": 4},
        "prompt_tokens": round(51_200 * seconds),
        "completion_tokens": round(12_800 * seconds),
        "sent_bytes": 5000,
        "received_bytes": 70_000,
        "batches": round(10 * seconds),
        "starved": 0.5,
        "stages": stages,
    }
    return Traffic(**{**values, **changes})


def stats(**changes: Any) -> Stats:
    values: dict[str, Any] = {
        "version": "0.1.0",
        "host": "sidecar",
        "program": 4711,
        "time": 1.7e9,
        "uptime": 120.0,
        "in_flight": 4096,
        "in_flight_by_stage": {"limits": 1024, "server": 2048, "delivery": 1024},
        "oldest": 12.8,
        "since_start": traffic(120.0),
        "last_10s": traffic(10.0),
        "last_60s": traffic(60.0),
        "sessions": [
            SessionStats(
                session_id="session-1",
                base_url="http://127.0.0.1:8000",
                heartbeat_age=3.0,
                limits={"server": LimitStats(used=64, limit=64, waiting=310)},
            )
        ],
        "samplers": [
            SamplerStats(
                sampling_session_id="sampler-1",
                session_id="session-1",
                base_model="tinker-sidecar/sim",
                in_flight=4096,
                queue_state="active",
            )
        ],
        "process": ProcessStats(pid=4712, cpu_seconds=41.0, rss_bytes=96_000_000, threads=12, connections=28),
        "gil": [CULPRIT],
    }
    return Stats(**{**values, **changes})


BUSY = stats()


def pending(number: int) -> list[RequestStats]:
    """The oldest of them first."""
    return [
        RequestStats(
            request_id=f"sampler-1:{index}",
            age=100.0 - index / 1000,
            stage="server",
            stage_age=90.0,
            sampling_session_id="sampler-1",
            prompt_tokens=512,
        )
        for index in range(number)
    ]
