"""The two screens of `tinker-sidecar top`: the sidecars, and the requests of one of them. 80 columns do."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.text import Text

from tinker_sidecar.ipc.stats import STAGES, RequestStats, SessionStats, StageName, Stats
from tinker_sidecar.watch.figures import (
    amount,
    bytes_of_memory,
    duration,
    percent,
    plural,
    printable,
    shortened,
)
from tinker_sidecar.watch.finding import Seen

__all__ = ["SORTS", "Screen", "pending_screen", "sidecars_screen"]

SORTS: dict[str, Callable[[Stats], float]] = {
    "pid": lambda _: 0.0,
    "samples/s": lambda stats: _per_second(stats, stats.last_10s.finished),
    "in flight": lambda stats: stats.in_flight,
    "oldest": lambda stats: stats.oldest,
    "starved": lambda stats: stats.last_10s.starved,
    "memory": lambda stats: stats.process.rss_bytes,
}
"""What the sidecars can be sorted by, the most first; but by pid upwards."""

_LETTERS: dict[StageName, str] = {
    "client": "c", "limits": "l", "submit": "u", "server": "s", "fetch": "f", "delivery": "d",
}  # fmt: skip
_COLOURS: dict[StageName, str] = {
    "client": "magenta", "limits": "yellow", "submit": "cyan", "server": "green", "fetch": "blue",
    "delivery": "red",
}  # fmt: skip
_BAR = 8
_LATE_HEARTBEAT = 25.0
"""Seconds: one is due every 10."""

_SIDECARS = (
    f"{'PID':>7} {'samples/s':>9} {'tokens/s':>8} {'in flight':>9} {'by stage':<8} "
    f"{'most time in':<13} {'p50':>6} {'p99':>6} {'429s':>5}"
)
_PENDING = f"{'age':>7}  {'stage':<8} {'for':>6}  {'prompt':>6}  request"

Screen = tuple[list[Text], list[list[Text]]]
"""The lines above a list, and the lines of each of its entries."""


def sidecars_screen(seen: Sequence[Seen], sort: str) -> Screen:
    """The sidecars, in their order."""
    title = f"{plural(len(seen), 'sidecar')} by {sort}"
    legend = Text("  in flight: ")
    for stage in STAGES:
        legend.append(f"{_LETTERS[stage]} {stage}  ", _COLOURS[stage])
    return [_title(title), legend, Text(_SIDECARS, "bold")], [_sidecar(one) for one in seen]


def pending_screen(seen: Seen, width: int) -> Screen:
    """The requests of one sidecar that are under way, the oldest first, on a screen of that width."""
    stats = seen.stats
    if stats is None:
        return [_title(f"sidecar {seen.about.pid} {seen.problem}")], []
    title = f"sidecar {seen.about.pid}: {stats.in_flight} requests in flight, the oldest first"
    head = [_title(title), Text(f"  {printable(seen.about.command)}", "dim"), Text(_PENDING, "bold")]
    return head, [[_request(request, width)] for request in stats.pending]


def _title(text: str) -> Text:
    return Text(f"{text:<70}  {time.strftime('%H:%M:%S')}", "reverse")


def _sidecar(seen: Seen) -> list[Text]:
    command = Text(f"  {printable(seen.about.command)}", "dim")
    if seen.stats is None:
        return [Text(f"{seen.about.pid:>7} {seen.problem}", "bold red"), command]
    stats = seen.stats
    return [_figures(stats), command, Text(f"  {_names(stats)}", "dim"), _state(stats), *_troubles(stats)]


def _figures(stats: Stats) -> Text:
    last = stats.last_10s
    rates = (_per_second(stats, last.finished), _per_second(stats, last.completion_tokens))
    line = Text(f"{stats.process.pid:>7} {amount(rates[0]):>9} {amount(rates[1]):>8} {stats.in_flight:>9} ")
    line.append_text(_bar(stats))
    line.append(" ")
    line.append_text(_slowest(stats))
    refused = stats.last_60s.retried.get("429", 0)
    return line.append(f" {amount(refused):>5}", "yellow" if refused else "")


def _per_second(stats: Stats, number: int) -> float:
    """Of what was counted in the last 10 s."""
    return number / stats.last_10s.seconds if stats.last_10s.seconds else 0.0


def _bar(stats: Stats) -> Text:
    """A letter for each eighth of what is in flight, by stage; as near as eighths come."""
    bar = Text()
    everything = sum(stats.in_flight_by_stage.values())
    passed = drawn = 0
    for stage in STAGES:
        passed += stats.in_flight_by_stage.get(stage, 0)
        upto = round(passed / everything * _BAR) if everything else 0
        bar.append(_LETTERS[stage] * (upto - drawn), f"reverse {_COLOURS[stage]}")
        drawn = upto
    return bar.append(" " * (_BAR - drawn))


def _slowest(stats: Stats) -> Text:
    """The stage in which the requests of the last minute have spent the most time."""
    stages = stats.last_60s.stages
    if not any(times.count for times in stages.values()):
        return Text(f"{'-':<27}")
    stage = max(stages, key=lambda name: stages[name].total)
    times = stages[stage]
    everything = sum(each.total for each in stages.values())
    share = percent(times.total / everything) if everything else ""
    line = Text(f"{stage:<8} {share:>4}", _COLOURS[stage])
    return line.append(f" {duration(times.p50):>6} {duration(times.p99):>6}", "default")


def _names(stats: Stats) -> str:
    """The sampler and the session, or how many there are."""
    samplers = [
        f"{sampler.base_model or 'sampler'} {sampler.sampling_session_id}" for sampler in stats.samplers
    ]
    sessions = [f"session {session.session_id}" for session in stats.sessions]
    return ", ".join(printable(part) for part in (*_few(samplers, "sampler"), *_few(sessions, "session")))


def _few(names: list[str], what: str) -> list[str]:
    return names if len(names) == 1 else [plural(len(names), what)]


def _state(stats: Stats) -> Text:
    line = Text("  ")
    ages = [session.heartbeat_age for session in stats.sessions if session.heartbeat_age is not None]
    if ages:
        late = max(ages) > _LATE_HEARTBEAT
        line.append(f"heartbeat {duration(max(ages))} ago", "red" if late else "dim").append(", ", "dim")
    line.append(f"oldest {duration(stats.oldest)}, " if stats.in_flight else "", "dim")
    starved = stats.last_10s.starved
    line.append(f"starved {percent(starved)}", "red" if starved > 0.1 else "dim")
    line.append(f", memory {bytes_of_memory(stats.process.rss_bytes)}", "dim")
    if stats.attached:
        own = sum(one.share for one in stats.attached if one.program == stats.program)
        line.append(
            f" for {plural(len(stats.attached), 'program')}, {percent(own)} of its work for this", "dim"
        )
    return line


def _troubles(stats: Stats) -> list[Text]:
    """What explains the figures: who keeps results waiting, and which server is silent."""
    lines = [_unreachable(session) for session in stats.sessions if session.unreachable_for]
    if stats.last_60s.starved and stats.gil:
        holder = stats.gil[0]
        text = f'{percent(holder.share)} of it by {holder.place}, thread "{holder.thread}"'
        lines.append(Text(f"  results wait: {printable(text)}", "red"))
    return lines


def _unreachable(session: SessionStats) -> Text:
    text = f"cannot reach {printable(session.base_url)} for {duration(session.unreachable_for)}"
    return Text(f"  {text}", "bold red")


def _request(request: RequestStats, width: int) -> Text:
    tokens = "?" if request.prompt_tokens is None else amount(request.prompt_tokens)
    line = Text(f"{duration(request.age):>7}  ")
    line.append(f"{request.stage:<8}", _COLOURS[request.stage])
    line.append(f" {duration(request.stage_age):>6}  {tokens:>6}  ", "default")
    name = printable(request.request_id or "(not submitted yet)")
    line.append(shortened(name, width - len(line)))
    sampler = f"  {printable(request.sampling_session_id or '')}"
    # Half of it would hide the end of the request's name, which tells the requests apart.
    return line.append(sampler, "dim") if len(line) + len(sampler) <= width else line
