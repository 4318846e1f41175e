"""What happened, added up: since the start, and in the last seconds."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from operator import add
from time import monotonic

from tinker_sidecar.engine.times import Times
from tinker_sidecar.ipc.stats import STAGES, StageStats, Traffic

__all__ = ["Ledger", "Page"]

_AMOUNTS = ("prompt_tokens", "completion_tokens", "sent_bytes", "received_bytes")
_FIGURES = (*STAGES, *_AMOUNTS)
"""What a journey's figures are."""

_REMEMBERED = 60.0
"""Seconds that can be looked back."""


class Page:
    """What happened from `began` to `ended`.

    There may be twelve for each of a thousand samplers: so it has flat arrays, which the garbage collector
    does not go through, and nothing that is empty.
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
        self.failed: Counter[str] | None = None
        self.retried: Counter[str] | None = None
        self.starved = 0.0
        self._figures = array("d")
        """Those of each request that ended, one after the other, until they are added up."""
        self._times: Times | None = None
        """Of all that has been in `_figures`."""
        self._sums: array[float] | None = None
        """The same."""

    def count(self, figures: list[float]) -> None:
        """A request has ended that has these."""
        self._figures.fromlist(figures)

    def count_failure(self, kind: str) -> None:
        """A request has failed with an error of class `kind`."""
        if self.failed is None:
            self.failed = Counter()
        self.failed[kind] += 1

    def count_retry(self, cause: str) -> None:
        """An attempt failed for `cause`, and was followed by another."""
        if self.retried is None:
            self.retried = Counter()
        self.retried[cause] += 1

    def add_up(self) -> None:
        """Keep of each request that ended what is less to remember."""
        if not self._figures:
            return
        columns = [self._figures[place :: len(_FIGURES)] for place in range(len(_FIGURES))]
        self._times = self._times or Times(len(STAGES))
        self._times.extend(columns[: len(STAGES)])
        self._add_sums(array("d", map(sum, columns)))
        self._figures = array("d")

    def add(self, other: Page) -> None:
        """Count what is in `other`, which is added up, here as well."""
        self.submitted += other.submitted
        self.finished += other.finished
        self.cancelled += other.cancelled
        self.batches += other.batches
        self.starved += other.starved
        self.failed = _added(self.failed, other.failed)
        self.retried = _added(self.retried, other.retried)
        if other._times is not None and other._sums is not None:
            self._times = self._times or Times(len(STAGES))
            self._times.add(other._times)
            self._add_sums(other._sums)

    def _add_sums(self, more: array[float]) -> None:
        self._sums = array("d", map(add, self._sums, more)) if self._sums else more

    def traffic(self) -> Traffic:
        """All of it, for people."""
        seconds, sums = self.ended - self.began, dict(zip(_FIGURES, self._sums or (), strict=False))
        digests = () if self._times is None else self._times.digests()
        amounts = {name: round(sums.get(name, 0)) for name in _AMOUNTS}
        return Traffic(
            seconds=round(seconds, 3),
            submitted=self.submitted,
            finished=self.finished,
            failed=dict(self.failed or {}),
            cancelled=self.cancelled,
            retried=dict(self.retried or {}),
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
        self.page = Page(monotonic())
        """The one to count on."""
        self.began = self.page.began
        """Since when there is something to count, by `monotonic`."""
        self.turns_at = self.began + interval
        """When the next page is due, by `monotonic`."""
        self._pages: list[Page] = []
        """The last minute's, without the one to count on."""
        self._before: Page | None = None
        """All that was before those."""

    def turn(self, now: float) -> None:
        """Begin a new page. Where nothing happened for long there is none."""
        self.page.add_up()
        self.page.ended = self.turns_at
        self._pages.append(self.page)
        while self._pages and self._pages[0].ended < now - _REMEMBERED:
            self._before = self._before or Page(self.began)
            self._before.add(self._pages.pop(0))
        self.page = Page(now)
        self.turns_at = now + self._interval

    def retried(self, cause: str) -> None:
        """An attempt failed for `cause`, and was followed by another."""
        self.today().count_retry(cause)

    def since_start(self) -> Traffic:
        """All there has been."""
        return self._sum([*self._pages, self.page], self._before or Page(self.began))

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


def _added(counts: Counter[str] | None, more: Counter[str] | None) -> Counter[str] | None:
    return (counts or Counter()) + more if more else counts
