"""What happened, added up: since the start, and in the last seconds."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from time import monotonic

from tinker_sidecar.engine.times import Times
from tinker_sidecar.ipc.stats import STAGES, StageStats, Traffic

__all__ = ["Ledger", "Page"]

_AMOUNTS = ("prompt_tokens", "completion_tokens", "sent_bytes", "received_bytes")
"""What a journey's figures are, behind the stages."""

_REMEMBERED = 60.0
"""Seconds that can be looked back."""


class Page:
    """What happened from `began` to `ended`."""

    def __init__(self, began: float) -> None:
        self.began = self.ended = began
        self.submitted = self.finished = 0
        self.counts: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.retried: Counter[str] = Counter()
        self.starved = 0.0
        self.rows: list[list[float]] = []
        """The figures of each request that ended, until they are added up."""
        self.times: list[Times] = []
        """One for each stage, of all that has been in `rows`."""
        self.totals = [0.0] * len(STAGES)

    def add_up(self) -> None:
        """Add what is in `rows` to all else."""
        if not self.rows:
            return
        columns = list(zip(*self.rows, strict=True))
        stages, amounts = columns[: len(STAGES)], columns[len(STAGES) :]
        self.times = self.times or [Times() for _ in STAGES]
        for times, stage in zip(self.times, stages, strict=True):
            times.extend(stage)
        self.totals = [total + sum(stage) for total, stage in zip(self.totals, stages, strict=True)]
        for name, amount in zip(_AMOUNTS, amounts, strict=True):
            self.counts[name] += int(sum(amount))
        self.rows = []

    def add(self, other: Page) -> None:
        """Count what is in `other`, which is added up, here as well."""
        self.submitted += other.submitted
        self.finished += other.finished
        self.counts.update(other.counts)
        self.failed.update(other.failed)
        self.retried.update(other.retried)
        self.starved += other.starved
        self.totals = [mine + its for mine, its in zip(self.totals, other.totals, strict=True)]
        if other.times:
            self.times = self.times or [Times() for _ in STAGES]
            for times, others in zip(self.times, other.times, strict=True):
                times.add(others)

    def traffic(self) -> Traffic:
        """All of it, for people."""
        counts, seconds = self.counts, self.ended - self.began
        digests = [times.digest() for times in self.times]
        return Traffic(
            seconds=round(seconds, 3),
            submitted=self.submitted,
            finished=self.finished,
            failed=dict(self.failed),
            cancelled=counts["cancelled"],
            retried=dict(self.retried),
            prompt_tokens=counts["prompt_tokens"],
            completion_tokens=counts["completion_tokens"],
            sent_bytes=counts["sent_bytes"],
            received_bytes=counts["received_bytes"],
            batches=counts["batches"],
            starved=round(min(1.0, self.starved / seconds), 4) if seconds else 0.0,
            stages={
                stage: StageStats(
                    count=digest.n_values,
                    total=total,
                    p50=digest.quantile(0.5),
                    p90=digest.quantile(0.9),
                    p99=digest.quantile(0.99),
                    max=digest.max(),
                )
                for stage, digest, total in zip(STAGES, digests, self.totals, strict=False)
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

    def count(self, what: str, amount: int = 1) -> None:
        """`amount` of `what` more: a field of `Traffic`."""
        self._today().counts[what] += amount

    def retried(self, cause: str) -> None:
        """An attempt failed for `cause`, and was followed by another."""
        self._today().retried[cause] += 1

    def starved(self, seconds: float) -> None:
        """Results have waited so long for the program."""
        self._today().starved += seconds

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

    def _today(self) -> Page:
        if (now := monotonic()) >= self.turns_at:
            self.turn(now)
        return self.page
