"""All that a sidecar knows of itself, as plain text: what `tinker-sidecar stats` prints."""

from __future__ import annotations

from collections.abc import Iterator

from tinker_sidecar.ipc.stats import STAGES, LimitStats, SessionStats, Stats, Traffic
from tinker_sidecar.watch.figures import amount, bytes_of_memory, duration, percent, plural, printable
from tinker_sidecar.watch.finding import Seen

__all__ = ["described"]

_OLDEST = 5
"""Requests that are listed."""


def described(seen: Seen) -> str:
    """Everything about one sidecar, in lines that end with a newline each."""
    return "".join(f"{line}\n" for line in _lines(seen))


def _lines(seen: Seen) -> Iterator[str]:
    about = seen.about
    yield f"program {about.program}: {printable(about.command)}"
    if seen.stats is None:
        yield f"sidecar {about.pid}: {seen.problem}"
        return
    stats = seen.stats
    yield from _process(stats)
    yield ""
    yield from _in_flight(stats)
    yield ""
    yield from _traffic(stats)
    yield ""
    yield from _stages(stats)
    yield from _gil(stats)
    yield ""
    for session in stats.sessions:
        yield from _session(session)
    yield from _samplers(stats)


def _process(stats: Stats) -> Iterator[str]:
    process = stats.process
    yield f"sidecar {process.pid}: tinker-sidecar {stats.version}, started {duration(stats.uptime)} ago"
    yield (
        f"  {duration(process.cpu_seconds)} of CPU, {bytes_of_memory(process.rss_bytes)}, "
        f"{plural(process.threads, 'thread')}, {plural(process.connections, 'connection')}"
    )


def _in_flight(stats: Stats) -> Iterator[str]:
    if not stats.in_flight:
        yield "nothing in flight"
        return
    yield f"{stats.in_flight} in flight, the oldest for {duration(stats.oldest)}"
    yield "  " + ", ".join(f"{stage} {stats.in_flight_by_stage.get(stage, 0)}" for stage in STAGES)
    for request in stats.pending[:_OLDEST]:
        yield (
            f"  {printable(request.request_id or 'not submitted yet')}: {duration(request.age)} old, "
            f"in {request.stage} for {duration(request.stage_age)}"
        )


def _traffic(stats: Stats) -> Iterator[str]:
    periods = (stats.last_10s, stats.last_60s, stats.since_start)
    yield f"{'':<26}{'10 s':>12}{'60 s':>12}{'since start':>14}"
    yield _row("submitted", [f"{period.submitted}" for period in periods])
    yield _row("finished", [f"{period.finished}" for period in periods])
    yield _row("cancelled", [f"{period.cancelled}" for period in periods])
    for error in stats.since_start.failed:
        yield _row(f"failed: {printable(error)}", [f"{period.failed.get(error, 0)}" for period in periods])
    for cause in stats.since_start.retried:
        yield _row(f"retried: {printable(cause)}", [f"{period.retried.get(cause, 0)}" for period in periods])
    yield _row("samples/s", [_rate(period, period.finished) for period in periods])
    yield _row("prompt tokens/s", [_rate(period, period.prompt_tokens) for period in periods])
    yield _row("completion tokens/s", [_rate(period, period.completion_tokens) for period in periods])
    yield _row("results a batch", [_a_batch(period) for period in periods])
    yield _row("starved", [percent(period.starved) for period in periods])


def _row(name: str, figures: list[str]) -> str:
    return f"{name:<26}{figures[0]:>12}{figures[1]:>12}{figures[2]:>14}"


def _rate(period: Traffic, number: int) -> str:
    return amount(number / period.seconds) if period.seconds else "0"


def _a_batch(period: Traffic) -> str:
    return f"{period.finished / period.batches:.1f}" if period.batches else "-"


def _stages(stats: Stats) -> Iterator[str]:
    """Of the last minute, or if that had nothing, of all the time."""
    recent = any(times.count for times in stats.last_60s.stages.values())
    stages = stats.last_60s.stages if recent else stats.since_start.stages
    everything = sum(times.total for times in stages.values())
    heading = f"where the time went, {'the last 60 s' if recent else 'since the start'}"
    yield f"{heading:<38}{'share':>7}{'p50':>8}{'p90':>8}{'p99':>8}{'max':>8}"
    for stage in STAGES:
        if stage in stages:
            times = stages[stage]
            share = percent(times.total / everything) if everything else "-"
            figures = (times.p50, times.p90, times.p99, times.max)
            yield f"  {stage:<36}{share:>7}" + "".join(f"{duration(figure):>8}" for figure in figures)


def _gil(stats: Stats) -> Iterator[str]:
    if stats.gil:
        yield ""
        yield "who held the GIL while results waited"
    for holder in stats.gil:
        place = f'{holder.place}, thread "{holder.thread}"'
        yield f"  {duration(holder.seconds):>6} {percent(holder.share):>5}  {printable(place)}"


def _session(session: SessionStats) -> Iterator[str]:
    age = session.heartbeat_age
    yield (
        f"session {printable(session.session_id)} at {printable(session.base_url)}: "
        + ("no heartbeat yet" if age is None else f"heartbeat {duration(age)} ago")
        + (f", unreachable for {duration(session.unreachable_for)}" if session.unreachable_for else "")
    )
    for name, limit in session.limits.items():
        if limit.limit is not None:
            yield f"  {name.replace('_', ' ')}: {_limit(limit)}"


def _limit(limit: LimitStats) -> str:
    used = f"{amount(limit.used)} of {amount(limit.limit or 0)}"
    return used + (f"; {limit.waiting} wait" if limit.waiting else "")


def _samplers(stats: Stats) -> Iterator[str]:
    for sampler in stats.samplers:
        state = "" if sampler.queue_state == "active" else f", {sampler.queue_state}"
        reason = f" ({sampler.queue_reason})" if sampler.queue_reason else ""
        name = sampler.sampling_session_id + (f" ({sampler.base_model})" if sampler.base_model else "")
        yield f"sampler {printable(name)}: {sampler.in_flight} in flight{printable(state + reason)}"
