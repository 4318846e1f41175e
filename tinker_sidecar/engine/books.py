"""What happens to requests, written down for whoever wants to know."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from time import monotonic

from tinker_sidecar.engine.clock import Clock
from tinker_sidecar.engine.journey import END, PROMPT_TOKENS, Journey
from tinker_sidecar.engine.ledger import Ledger, Page
from tinker_sidecar.engine.observer import Observer
from tinker_sidecar.engine.recovery import Cause, Route
from tinker_sidecar.engine.requests import EncodedSpec
from tinker_sidecar.ipc.protocol import Sample
from tinker_sidecar.ipc.stats import STAGES, GilHolder

__all__ = ["Books"]

_PAGE = 1.0
"""Seconds that a page of the ledger is for."""

_COUNT_EVERY = 1.0
"""Seconds between counts for an observer."""

_WORTH_DRAWING = 0.05
"""Seconds that results must have waited."""


class Books:
    """Of one engine: the requests under way, and sums of those that were.

    `shares_gil` if the engine runs in the program's own process.
    """

    def __init__(self, *, shares_gil: bool) -> None:
        self.ledger = Ledger(_PAGE)
        """What happened to all requests."""
        self.journeys: dict[int, Journey] = {}
        """Of the requests to which the client has no answer, the oldest first."""
        self.gil_holders: Callable[[], list[GilHolder]] = list
        """Tells who held the GIL meanwhile, if somebody watches that."""
        self.record: Callable[[Journey, str | None, bytes], None] | None = None
        """Takes each result, with its request and the base model's name, if somebody keeps them."""
        self._observer: Observer | None = None
        self._until_busy: asyncio.Future[None] | None = None
        self._clock = Clock(self._was_starved, self.is_busy) if shares_gil else None

    def begin(self, sample: Sample, spec: EncodedSpec) -> Journey:
        """A request has come."""
        journey = Journey(sample, spec, self._clock, keeps_visits=self._observer is not None)
        self.journeys[sample.request] = journey
        ledger = self.ledger
        if journey.since >= ledger.turns_at:
            ledger.turn(journey.since)
        ledger.page.submitted += 1
        if self._until_busy is not None:
            self._until_busy.set_result(None)
            self._until_busy = None
        if self._clock is not None:
            self._clock.start()
        return journey

    def taken(self, journey: Journey, at: float) -> None:
        """The program has the result, since then by `monotonic`."""
        if self._end(journey.sample.request, "finished", at) is not None:
            for page in self._pages(journey):
                page.finished += 1
                page.count(journey.figures)

    def failed(self, request: int, kind: str) -> None:
        """The program is told of an error of class `kind`."""
        if (journey := self._end(request, kind)) is not None:
            if journey.request_id is None:
                journey.figures[PROMPT_TOKENS] = 0  # The server has not taken it, and bills nothing.
            for page in self._pages(journey):
                page.count_failure(kind)
                page.count(journey.figures)

    def cancelled(self, request: int) -> None:
        """The program has given it up."""
        if (journey := self._end(request, "cancelled")) is not None:
            for page in self._pages(journey):
                page.cancelled += 1

    def retried(self, _: Route, cause: Cause) -> None:
        """An attempt failed for `cause`, and was followed by another."""
        self.ledger.retried(cause.label)

    def batch_taken(self, waited: float) -> None:
        """The program has taken results, which had waited for it."""
        self.ledger.today().batches += 1
        if waited:
            self._was_starved(waited)

    def observe(self, observer: Observer) -> None:
        """Have `observer` hear of all that goes on from now on."""
        self._observer = observer
        self._count_for_observer()

    def tell_unfinished(self) -> None:
        """Nothing will finish any more: tell whoever looks on how far each request has come."""
        for request in list(self.journeys):
            self._end(request, "unfinished")

    def span(self, lane: str, name: str, start: float, end: float, **details: object) -> None:
        """Something went on that whoever looks on may want to hear of."""
        if self._observer is not None:
            self._observer.span(lane, name, start, end, **details)

    def _pages(self, journey: Journey) -> list[Page]:
        """Where the end of `journey` is to be counted."""
        now, pages = journey.since, []
        for ledger in (self.ledger, journey.ledger):
            if ledger is not None:
                if now >= ledger.turns_at:
                    ledger.turn(now)
                pages.append(ledger.page)
        return pages

    def _end(self, request: int, outcome: str, at: float | None = None) -> Journey | None:
        journey = self.journeys.pop(request, None)
        if journey is not None:
            journey.enter(END, at)
            if self._observer is not None and journey.visits is not None:
                self._observer.request(
                    journey.visits,
                    number=request,
                    request_id=journey.request_id,
                    sampling_session_id=journey.sampling_session_id,
                    prompt_tokens=journey.spec.prompt_tokens or None,
                    outcome=outcome,
                )
        return journey

    def lately(self) -> tuple[int, int]:
        """How many requests are under way, and how many have finished in the last minute."""
        return len(self.journeys), self.ledger.finished_lately()

    def is_busy(self) -> bool:
        """Whether any request is under way."""
        return bool(self.journeys)

    async def until_busy(self) -> None:
        """Wait until a request is under way."""
        if not self.journeys:
            if self._until_busy is None:
                self._until_busy = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._until_busy)

    def _was_starved(self, seconds: float) -> None:
        self.ledger.today().starved += seconds
        if seconds > _WORTH_DRAWING:
            now = monotonic()
            self.span("starved", "results wait for the program", now - seconds, now)

    def _count_for_observer(self) -> None:
        if self._observer is not None:
            stages = Counter(journey.stage for journey in self.journeys.values())
            self._observer.counter("in flight", {name: stages[place] for place, name in enumerate(STAGES)})
            asyncio.get_running_loop().call_later(_COUNT_EVERY, self._count_for_observer)
