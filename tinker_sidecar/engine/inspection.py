"""What an engine looks like at this moment, for whoever wants to know why it is slow."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Mapping
from time import monotonic
from typing import Literal

import msgspec
import psutil

from tinker_sidecar import __version__
from tinker_sidecar.credentials import without_password
from tinker_sidecar.engine.journey import Journey
from tinker_sidecar.engine.ledger import Ledger
from tinker_sidecar.engine.limits import Budget
from tinker_sidecar.engine.sampler import Sampler
from tinker_sidecar.engine.session import Session
from tinker_sidecar.ipc.stats import (
    STAGES,
    GilHolder,
    LimitStats,
    ProcessStats,
    ProgramStats,
    RequestStats,
    SamplerStats,
    SessionStats,
    Stats,
    Traffic,
)
from tinker_sidecar.system import open_sockets

__all__ = ["make_stats"]

_UNKNOWN = ProcessStats(pid=0, cpu_seconds=0.0, rss_bytes=0, threads=0, connections=0)


def make_stats(
    ledger: Ledger,
    journeys: list[Journey],
    sessions: list[Session],
    samplers: Mapping[int, Sampler],
    program: int,
    most_requests: int,
    *,
    gil: list[GilHolder],
    waiting: float,
    attached: list[ProgramStats] | None,
    of_process: bool,
) -> Stats:
    """Of the requests on `journeys`, the oldest first, and what has been written in `ledger`.

    `most_requests` of them are listed. What the process takes, which costs a few milliseconds to find out, is
    told if `of_process`. `waiting` is for how many seconds results have been waiting that are not taken yet.
    """
    now = monotonic()
    stages = Counter(journey.stage for journey in journeys)
    under_way = Counter(journey.sample.sampler for journey in journeys)
    return Stats(
        version=__version__,
        host=_host(program, attached),
        program=program,
        time=time.time(),
        uptime=now - ledger.began,
        in_flight=len(journeys),
        in_flight_by_stage={stage: stages[place] for place, stage in enumerate(STAGES)},
        oldest=now - min(journey.began for journey in journeys) if journeys else 0.0,
        since_start=_with_what_waits(ledger.since_start(), waiting),
        last_10s=_with_what_waits(ledger.last(10.0), waiting),
        last_60s=_with_what_waits(ledger.last(60.0), waiting),
        sessions=[_session(session, now) for session in sessions],
        samplers=[_sampler(sampler, under_way[number]) for number, sampler in samplers.items()],
        process=_process() if of_process else _UNKNOWN,
        attached=attached or [],
        gil=gil,
        pending=[_request(journey, now) for journey in journeys[:most_requests]],
    )


def _host(
    program: int, attached: list[ProgramStats] | None
) -> Literal["sidecar", "shared sidecar", "in process"]:
    if program == os.getpid():
        return "in process"
    return "sidecar" if attached is None else "shared sidecar"


def _with_what_waits(traffic: Traffic, waiting: float) -> Traffic:
    """Results have waited for so many seconds, and still do: the ledger hears of it when they are taken."""
    if not waiting or not traffic.seconds:
        return traffic
    starved = min(1.0, traffic.starved + waiting / traffic.seconds)
    return msgspec.structs.replace(traffic, starved=round(starved, 4))


def _request(journey: Journey, now: float) -> RequestStats:
    return RequestStats(
        request_id=journey.request_id,
        age=now - journey.began,
        stage=STAGES[journey.stage],
        stage_age=now - journey.since,
        sampling_session_id=journey.sampling_session_id,
        prompt_tokens=journey.spec.prompt_tokens or None,
    )


def _session(session: Session, now: float) -> SessionStats:
    heartbeat = session.last_heartbeat
    capacity = session.capacity
    return SessionStats(
        session_id=session.session_id,
        base_url=without_password(session.config.base_url),
        heartbeat_age=None if heartbeat is None else now - heartbeat,
        unreachable_for=session.http.outage.lasts_for(now),
        has_ended=session.has_ended,
        limits={
            "server": LimitStats(
                used=capacity.in_flight,
                limit=None if capacity.limit == math.inf else capacity.limit,
                waiting=capacity.waiting,
            ),
            "submissions": LimitStats(
                used=session.dispatches.inside,
                limit=session.dispatches.limit,
                waiting=session.dispatches.waiting,
            ),
            "prompt_bytes": _limit(session.prompt_bytes),
            "result_bytes": _limit(session.response_bytes),
            "paid": LimitStats(
                used=0, limit=0 if session.billing.waiting else None, waiting=session.billing.waiting
            ),
        },
    )


def _limit(budget: Budget) -> LimitStats:
    return LimitStats(used=budget.used, limit=budget.size, waiting=budget.waiting)


def _sampler(sampler: Sampler, in_flight: int) -> SamplerStats:
    state, reason = sampler.queue
    return SamplerStats(
        sampling_session_id=sampler.info.sampling_session_id,
        session_id=sampler.session.session_id,
        base_model=sampler.info.base_model,
        in_flight=in_flight,
        queue_state=state,
        queue_reason=reason,
    )


def _process() -> ProcessStats:
    process = psutil.Process()
    with process.oneshot():
        cpu = process.cpu_times()
        return ProcessStats(
            pid=process.pid,
            cpu_seconds=cpu.user + cpu.system,
            rss_bytes=process.memory_info().rss,
            threads=process.num_threads(),
            connections=open_sockets(),
        )
