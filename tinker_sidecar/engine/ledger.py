"""What happened, added up: since the start, and in the last seconds."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Mapping
from time import monotonic
from typing import TypeVar

from tinker_sidecar.engine.times import Times
from tinker_sidecar.ipc.stats import STAGES, StageStats, Traffic

__all__ = ["Ledger", "Page"]

_Number = TypeVar("_Number", int, float)

_AMOUNTS = ("prompt_tokens", "completion_tokens", "sent_bytes", "received_bytes")
_FIGURES = (*STAGES, *_AMOUNTS)
"""What a journey's figures are."""

_REMEMBERED = 60.0
"""Seconds that can be looked back."""


class Page:
    """What happened from `began` to `ended`.

    There may be twelve for each of a thousand samplers, and the garbage collector goes through all lists
    and objects; but not through dictionaries of numbers.
    """

    __slots__ = (
        "_figures",
        "_sums",
        "_times",
        "batches",
        "began",
        "cancelled",
        "ended",
        "failed",
        "finished",
        "retried",
        "starved",
        "submitted",
    )

    def __init__(self, began: float) -> None:
        self.began = self.ended = began
        self.submitted = self.finished = self.cancelled = self.batches = 0
        self.failed: dict[str, int] = {}
        self.retried: dict[str, int] = {}
        self.starved = 0.0
        self._figures = array("d")
        """Those of each request that ended, one after the other, until they are added up."""
        self._times: Times | None = None
        """Of all that has been in `_figures`."""
        self._sums: dict[str, float] = {}
        """The same."""

    def count(self, figures: list[float]) -> None:
        """A request has ended that has these."""
        self._figures.fromlist(figures)

    def add_up(self) -> None:
        """Keep of each request that ended what is less to remember."""
        if not self._figures:
            return
        columns = [self._figures[place :: len(_FIGURES)] for place in range(len(_FIGURES))]
        self._times = self._times or Times(len(STAGES))
        self._times.extend(columns[: len(STAGES)])
        _add(self._sums, dict(zip(_FIGURES, map(sum, columns), strict=True)))
        self._figures = array("d")

    def add(self, other: Page) -> None:
        """Count what is in `other`, which is added up, here as well."""
        self.submitted += other.submitted
        self.finished += other.finished
        self.cancelled += other.cancelled
        self.batches += other.batches
        self.starved += other.starved
        _add(self.failed, other.failed)
        _add(self.retried, other.retried)
        _add(self._sums, other._sums)
        if other._times is not None:
            self._times = self._times or Times(len(STAGES))
            self._times.add(other._times)

    def traffic(self) -> Traffic:
        """All of it, for people."""
        seconds, sums = self.ended - self.began, self._sums
        digests = () if self._times is None else self._times.digests()
        amounts = {name: round(sums.get(name, 0)) for name in _AMOUNTS}
        return Traffic(
            seconds=round(seconds, 3),
            submitted=self.submitted,
            finished=self.finished,
            failed=dict(self.failed),
            cancelled=self.cancelled,
            retried=dict(self.retried),
            **amounts,
            batches=self.batches,
            starved=round(min(1.0, self.starved / seconds), 4) if seconds else 0.0,
            stages={
                stage: StageStats(
                    count=digest.n_values,
                    total=sums[stage],
                    p50=digest.quantile(0.5),
                    p90=digest.quantile(0.9),
                    p99=digest.quantile(0.99),
                    max=digest.max(),
                )
                for stage, digest in zip(STAGES, digests, strict=False)
            },
        )


class Ledger:
    """Counts on a page for each `interval` seconds in which something happens; keeps the last minute's.

    Whoever has a request for it looks at `turns_at`, calls `turn` if that is over, and counts on `page`.
    A call for each request would cost as much as all the rest.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._all = Page(monotonic())
        self._pages: deque[Page] = deque()
        self.page = Page(self._all.began)
        """The one to count on."""
        self.turns_at = self.page.began + interval
        """When the next page is due, by `monotonic`."""

    @property
    def began(self) -> float:
        """Since when there is something to count, by `monotonic`."""
        return self._all.began

    def turn(self, now: float) -> None:
        """Begin a new page. Where nothing happened for long there is none."""
        self.page.add_up()
        self.page.ended = self.turns_at
        self._pages.append(self.page)
        while self._pages and self._pages[0].ended < now - _REMEMBERED:
            self._all.add(self._pages.popleft())
        self.page = Page(now)
        self.turns_at = now + self._interval

    def retried(self, cause: str) -> None:
        """An attempt failed for `cause`, and was followed by another."""
        retried = self.today().retried
        retried[cause] = retried.get(cause, 0) + 1

    def since_start(self) -> Traffic:
        """All there has been."""
        return self._sum([*self._pages, self.page], self._all)

    def last(self, seconds: float) -> Traffic:
        """What there has been in the last `seconds`, at most a minute; in whole pages, so it may be more."""
        now = monotonic()
        pages = [page for page in self._pages if page.ended > now - seconds]
        return self._sum([*pages, self.page], Page(max(self.began, now - seconds)))

    def finished_lately(self) -> int:
        """How many requests have finished in the last minute, without all else that there is to know."""
        since = monotonic() - _REMEMBERED
        return self.page.finished + sum(page.finished for page in self._pages if page.ended > since)

    def _sum(self, pages: Iterable[Page], start: Page) -> Traffic:
        now = monotonic()
        result = Page(start.began)
        result.add(start)
        for page in pages:
            page.add_up()
            result.add(page)
            result.began = min(result.began, page.began)
        result.ended = now
        return result.traffic()

    def today(self) -> Page:
        """The page to count on now."""
        if (now := monotonic()) >= self.turns_at:
            self.turn(now)
        return self.page


def _add(sums: dict[str, _Number], more: Mapping[str, _Number]) -> None:
    for name, amount in more.items():
        sums[name] = sums[name] + amount if name in sums else amount
