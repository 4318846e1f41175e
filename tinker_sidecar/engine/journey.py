"""A request's way through the engine, and where its time went."""

from __future__ import annotations

from array import array
from time import monotonic

from tinker_sidecar.engine.clock import Clock
from tinker_sidecar.engine.ledger import Ledger
from tinker_sidecar.engine.requests import EncodedSpec
from tinker_sidecar.ipc.protocol import Sample

__all__ = [
    "CLIENT",
    "COMPLETION_TOKENS",
    "DELIVERY",
    "END",
    "FETCH",
    "LIMITS",
    "PROMPT_TOKENS",
    "RECEIVED_BYTES",
    "SENT_BYTES",
    "SERVER",
    "SUBMIT",
    "Journey",
]

CLIENT, LIMITS, SUBMIT, SERVER, FETCH, DELIVERY, END = range(7)
"""Places in `STAGES`, and what comes after the last one."""

PROMPT_TOKENS, COMPLETION_TOKENS, SENT_BYTES, RECEIVED_BYTES = range(6, 10)
"""Where these are among a journey's figures, behind the seconds in each stage."""


_NO_FIGURES: list[float] = []
"""Never changed: of a hundred thousand that wait none needs a list of its own."""


class Journey:
    """What is known of a request from the moment the engine has it: `sample`, which asks for `spec`.

    `clock` is there if this thread may come late for lack of the GIL.
    """

    __slots__ = (
        "_clock",
        "began",
        "figures",
        "ledger",
        "request_id",
        "sample",
        "sampling_session_id",
        "since",
        "spec",
        "stage",
        "visits",
    )

    def __init__(self, sample: Sample, spec: EncodedSpec, clock: Clock | None, *, keeps_visits: bool) -> None:
        self._clock = clock
        self.sample = sample
        self.spec = spec
        self.request_id: str | None = None
        self.sampling_session_id: str | None = None
        self.ledger: Ledger | None = None
        """That of the sampler, once it has come so far."""
        self.stage = LIMITS
        self.since = now = monotonic()
        """When it entered the stage that it is in, by `monotonic`."""
        self.began = sample.submitted_at or now
        """When the program called `sample`: the clock is the machine's, so other processes' times compare."""
        self.figures = _NO_FIGURES
        """Seconds in each stage that it has left; and then amounts. There are none before it has left one."""
        self.visits = array("d", (CLIENT, self.began, LIMITS, now)) if keeps_visits else None
        """Each stage and when it was entered, by turns, if somebody draws that. To the garbage collector,
        which runs the more often the more objects there are, an array is one, however much is in it."""

    def enter(self, stage: int, at: float | None = None) -> None:
        """It goes on to `stage`, which it may have been in before, or ends: now, or that was `at` a time."""
        now = monotonic() if at is None else max(at, self.since)
        if self.figures is _NO_FIGURES:
            in_client = max(0.0, self.since - self.began)
            self.figures = [in_client, 0.0, 0.0, 0.0, 0.0, 0.0, self.spec.prompt_tokens, 0, 0, 0]
        waited = now - self.since
        if self._clock is not None and (late := self._clock.lateness(self.since, now)):
            # It was ready for the program all the while, as far as anybody can tell.
            self.figures[DELIVERY] += late
            waited -= late
            if self.visits is not None:
                self.visits.extend((DELIVERY, now - late))
        self.figures[self.stage] += waited
        self.stage = stage
        self.since = now
        if self.visits is not None:
            self.visits.extend((stage, now))
