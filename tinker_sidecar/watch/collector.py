"""An engine's statistics as Prometheus has them: names, units and types by its conventions.

Samplers and requests have no series of their own. A training run makes a sampler for each of its checkpoints,
and Prometheus keeps every series that it has ever seen.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from tinker_sidecar.ipc.stats import STAGES, StageStats, Stats

__all__ = ["StatsCollector"]

_PREFIX = "tinker_sidecar_"
_MOST_PLACES = 20
"""Places that hold the GIL and have a series of their own: those that have held it the longest."""


class StatsCollector(Collector):
    """Makes metrics of what `stats` returns, which is None when the engine does not answer."""

    def __init__(self, stats: Callable[[], Stats | None]) -> None:
        self._stats = stats
        self._starved = 0.0

    def collect(self) -> Iterator[Metric]:
        """All metrics, or just the one that says that there are none."""
        stats = self._stats()
        yield _gauge("engine_up", "Whether the engine answers: 1 if so.", float(stats is not None))
        if stats is not None:
            yield _info(stats)
            yield from _requests(stats)
            yield _stages(stats)
            yield from _work(stats)
            yield from self._starvation(stats)
            yield from _sessions(stats)
            yield from _limits(stats)
            yield from _process(stats)

    def _starvation(self, stats: Stats) -> Iterator[Metric]:
        # A share multiplied may come out a hair smaller than before, and Prometheus takes any decrease of a
        # counter for a restart, which adds all of it once more.
        self._starved = max(self._starved, stats.since_start.starved * stats.since_start.seconds)
        help_ = "Time in which results were ready and the program did not take them."
        yield _counter("starved_seconds", help_, self._starved)
        held = CounterMetricFamily(
            f"{_PREFIX}gil_held_seconds",
            "Time in which results waited and this place held the GIL, as far as samples tell.",
            labels=["place", "thread"],
        )
        for holder in stats.gil[:_MOST_PLACES]:
            held.add_metric([holder.place, holder.thread], holder.seconds)
        yield held


def _info(stats: Stats) -> Metric:
    about = {"version": stats.version, "host": stats.host, "program": str(stats.program)}
    return InfoMetricFamily(
        f"{_PREFIX}engine", "The engine, where it runs, and the process it works for.", about
    )


def _requests(stats: Stats) -> Iterator[Metric]:
    since = stats.since_start
    yield _counter("requests_submitted", "Requests that the engine was given.", since.submitted)
    ended = {"finished": since.finished, "failed": sum(since.failed.values()), "cancelled": since.cancelled}
    yield _counters("requests", "Requests that have ended.", "outcome", ended)
    yield _counters("failures", "Requests that ended in an error, by its class.", "error", since.failed)
    retries_help = "Attempts that were followed by another, by HTTP status or other cause."
    yield _counters("retries", retries_help, "cause", since.retried)
    in_flight = GaugeMetricFamily(
        f"{_PREFIX}in_flight", "Requests that have no answer yet, by where they are.", labels=["stage"]
    )
    for stage in STAGES:
        in_flight.add_metric([stage], stats.in_flight_by_stage.get(stage, 0))
    yield in_flight
    yield _gauge("oldest_request_age_seconds", "The age of the oldest request in flight.", stats.oldest)


def _stages(stats: Stats) -> Metric:
    """Sums and counts since the start; quantiles of the last minute, as a summary has a sliding window."""
    summary = SummaryMetricFamily(
        f"{_PREFIX}request_stage_seconds", "How long requests were in a stage.", labels=["stage"]
    )
    for stage in STAGES:
        times = stats.since_start.stages.get(stage, StageStats())
        recent = stats.last_60s.stages.get(stage, StageStats())
        for quantile, value in (("0.5", recent.p50), ("0.9", recent.p90), ("0.99", recent.p99)):
            labels = {"stage": stage, "quantile": quantile}
            summary.add_sample(summary.name, labels, value if recent.count else math.nan)
        summary.add_metric([stage], count_value=times.count, sum_value=times.total)
    return summary


def _work(stats: Stats) -> Iterator[Metric]:
    since = stats.since_start
    tokens = {"prompt": since.prompt_tokens, "completion": since.completion_tokens}
    yield _counters("tokens", "Tokens of finished requests.", "kind", tokens)
    bodies = {"sent": since.sent_bytes, "received": since.received_bytes}
    yield _counters("http_body_bytes", "Bodies of HTTP requests and answers.", "direction", bodies)
    yield _counter("batches", "How often results went to the program.", since.batches)


def _sessions(stats: Stats) -> Iterator[Metric]:
    age = GaugeMetricFamily(
        f"{_PREFIX}heartbeat_age_seconds", "Time since the server took a heartbeat.", labels=["session"]
    )
    silent = GaugeMetricFamily(
        f"{_PREFIX}server_unreachable_seconds", "Time since the server stopped answering.", labels=["session"]
    )
    for session in stats.sessions:
        if session.heartbeat_age is not None:
            age.add_metric([session.session_id], session.heartbeat_age)
        silent.add_metric([session.session_id], session.unreachable_for)
    yield age
    yield silent
    samplers = GaugeMetricFamily(
        f"{_PREFIX}samplers",
        "Open samplers, by what the server said of their queues.",
        labels=["queue_state"],
    )
    for state, number in Counter(sampler.queue_state for sampler in stats.samplers).items():
        samplers.add_metric([state], number)
    yield samplers


def _limits(stats: Stats) -> Iterator[Metric]:
    labels = ["session", "limit"]
    most = GaugeMetricFamily(f"{_PREFIX}limit", "What may be used at once.", labels=labels)
    used = GaugeMetricFamily(f"{_PREFIX}limit_used", "What is used of a limit.", labels=labels)
    waiting = GaugeMetricFamily(f"{_PREFIX}limit_waiting", "Requests that wait for a limit.", labels=labels)
    for session in stats.sessions:
        for name, limit in session.limits.items():
            at = [session.session_id, name]
            most.add_metric(at, math.inf if limit.limit is None else limit.limit)
            used.add_metric(at, limit.used)
            waiting.add_metric(at, limit.waiting)
    yield from (most, used, waiting)


def _process(stats: Stats) -> Iterator[Metric]:
    """What the library's own metrics of the process do not have."""
    yield _gauge("threads", "Threads of this process.", stats.process.threads)
    yield _gauge("open_sockets", "Sockets of this process, of all kinds.", stats.process.connections)


def _gauge(name: str, help_: str, value: float) -> Metric:
    return GaugeMetricFamily(_PREFIX + name, help_, value)


def _counter(name: str, help_: str, value: float) -> Metric:
    return CounterMetricFamily(_PREFIX + name, help_, value)


def _counters(name: str, help_: str, label: str, values: dict[str, int]) -> Metric:
    family = CounterMetricFamily(_PREFIX + name, help_, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
