"""Telling people in the log how it goes, without having been asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic

from tinker_sidecar.ipc.stats import STAGES, RequestStats, Stats, Traffic
from tinker_sidecar.logs import engine_logger

__all__ = ["Reporter"]

logger = engine_logger(__name__)


class Reporter:
    """Looks every few seconds, until nothing is under way or untold, whether there is something to tell.

    That is a summary every `interval` seconds, at level INFO; and warnings when the server refuses requests
    or when nothing gets done, each at most once a minute, and with a word at its end.
    """

    _LOOK = 5.0
    _AGAIN = 60.0
    """Seconds until a warning is repeated."""
    _REFUSED = 0.01
    """About the share of submissions that is worth a warning."""
    _STUCK = 300.0
    """Seconds in one stage after which a request may be stuck."""

    def __init__(self, interval: float, look: Callable[[], Stats]) -> None:
        self._interval = interval
        self._stats = look
        self._is_looking = False
        self._summarized_at = 0.0
        self._summarized = 0
        """How many requests had ended by the last summary."""
        self._looked_at = monotonic()
        self._refused = 0
        """How many refusals there have been until the last look."""
        self._throttled_since: float | None = None
        self._refused_at = 0.0
        self._is_throttling_told = False
        self._stuck_since: float | None = None
        self._throttled_told_at = self._stuck_told_at = float("-inf")

    def start(self) -> None:
        """Something is under way."""
        if not self._is_looking:
            self._summarized_at = monotonic()
            self._look_again()

    def _look_again(self) -> None:
        self._is_looking = True
        asyncio.get_running_loop().call_later(min(self._LOOK, self._interval), self._look)

    def _look(self) -> None:
        self._is_looking = False
        now, stats = monotonic(), self._stats()
        self._tell_throttling(now, stats)
        self._tell_what_is_stuck(now, stats)
        self._looked_at = now
        if self._has_news(stats) and now - self._summarized_at >= self._interval:
            self._summarized_at, self._summarized = now, _ended(stats)
            if logger.isEnabledFor(logging.INFO):
                logger.info("%s", _summary(stats))
        if self._has_news(stats) or self._throttled_since is not None or self._stuck_since is not None:
            self._look_again()

    def _has_news(self, stats: Stats) -> bool:
        return stats.in_flight > 0 or _ended(stats) != self._summarized

    def _tell_throttling(self, now: float, stats: Stats) -> None:
        refused = stats.since_start.retried.get("429", 0)
        if refused == self._refused:
            self._tell_end_of_throttling()
            return
        self._refused, self._refused_at = refused, now
        if self._throttled_since is None:
            self._throttled_since = self._looked_at
        recent = stats.last_10s
        lately = recent.retried.get("429", 0)
        share = lately / (lately + max(1, recent.submitted, recent.finished))
        if share < self._REFUSED or now - self._throttled_told_at < self._AGAIN:
            return
        self._throttled_told_at, self._is_throttling_told = now, True
        waiting = stats.in_flight_by_stage["limits"]
        logger.warning(
            "the server has answered 429 (too many requests) %d times in %.0f s, in which %d requests "
            "have finished; %s",
            lately,
            recent.seconds,
            recent.finished,
            f"{waiting} wait for room there, and are sent as fast as it takes them. "
            "Only a higher limit at the server makes this faster"
            if waiting
            else "each is sent again after a moment, and none waits",
        )

    def _tell_end_of_throttling(self) -> None:
        if self._is_throttling_told and self._throttled_since is not None:
            logger.warning(
                "the server refuses nothing any more (429), after %.0f s",
                self._refused_at - self._throttled_since,
            )
        self._throttled_since, self._is_throttling_told = None, False

    def _tell_what_is_stuck(self, now: float, stats: Stats) -> None:
        stuck = [request for request in stats.pending if request.stage_age > self._STUCK]
        if not stuck:
            if self._stuck_since is not None:
                logger.warning("what was stuck has gone on, after %.0f s", now - self._stuck_since)
            self._stuck_since = None
            return
        if now - self._stuck_told_at < self._STUCK:
            return
        self._stuck_told_at = now
        if self._stuck_since is None:
            self._stuck_since = now - max(request.stage_age for request in stuck)
        logger.warning(
            "of %d requests in flight the oldest have not got on for long: %s. "
            "They fail after RetryConfig.progress_timeout",
            stats.in_flight,
            ", ".join(_named(request) for request in stuck[:3]),
        )


def _ended(stats: Stats) -> int:
    since = stats.since_start
    return since.finished + since.cancelled + sum(since.failed.values())


def _named(request: RequestStats) -> str:
    name = request.request_id or "a request without an id yet"
    return f'{name} in "{request.stage}" for {request.stage_age:.0f} s'


def _summary(stats: Stats) -> str:
    traffic = stats.last_60s
    tokens = _rate(traffic.completion_tokens, traffic)
    parts = [
        f"{traffic.finished:,} requests finished in {traffic.seconds:.0f} s",
        f"{_rate(traffic.finished, traffic)} samples/s and {tokens} tokens/s",
        _in_flight(stats),
    ]
    if failed := sum(traffic.failed.values()):
        parts.append(f"{failed:,} failed")
    if total := sum(stage.total for stage in traffic.stages.values()):
        shares = ((name, traffic.stages[name].total / total) for name in STAGES)
        parts.append(
            "time went: " + ", ".join(f"{name} {share:.0%}" for name, share in shares if share > 0.01)
        )
    if traffic.retried:
        causes = ", ".join(f"{cause} × {count:,}" for cause, count in traffic.retried.items())
        parts.append(f"retried: {causes}")
    if traffic.starved > 0.01:
        parts.append(f"results waited for this program {traffic.starved:.0%} of the time")
    return "; ".join(parts)


def _in_flight(stats: Stats) -> str:
    if not stats.in_flight:
        return "none in flight"
    by_stage = ", ".join(f"{name} {count:,}" for name, count in stats.in_flight_by_stage.items() if count)
    return f"{stats.in_flight:,} in flight ({by_stage}), the oldest for {stats.oldest:.0f} s"


def _rate(amount: int, traffic: Traffic) -> str:
    return f"{amount / max(1.0, traffic.seconds):,.0f}"
