"""A request's way through the engine, and where its time went."""

from __future__ import annotations

from tinker_sidecar.engine.clock import Clock
from tinker_sidecar.engine.requests import EncodedSpec
from tinker_sidecar.ipc.protocol import Sample

__all__ = ["CLIENT", "DELIVERY", "END", "FETCH", "LIMITS", "SERVER", "SUBMIT", "Journey"]

CLIENT, LIMITS, SUBMIT, SERVER, FETCH, DELIVERY, END = range(7)
"""Places in `STAGES`, and what comes after the last one."""


class Journey:
    """What is known of a request from the moment the engine has it: `sample`, which asks for `spec`."""

    __slots__ = (
        "_clock",
        "began",
        "completion_tokens",
        "received_bytes",
        "request_id",
        "sample",
        "sent_bytes",
        "since",
        "spec",
        "spent",
        "stage",
        "visits",
    )

    def __init__(self, sample: Sample, spec: EncodedSpec, clock: Clock, *, keeps_visits: bool) -> None:
        self._clock = clock
        self.sample = sample
        self.spec = spec
        self.request_id: str | None = None
        self.stage = LIMITS
        self.since = now = clock.now()
        """When it entered the stage that it is in, by `monotonic`."""
        self.began = sample.submitted_at or now
        """When the program called `sample`: the clock is the machine's, so other processes' times compare."""
        self.spent = [max(0.0, now - self.began), 0.0, 0.0, 0.0, 0.0, 0.0]
        """Seconds in each stage that it has left."""
        self.visits = [(CLIENT, self.began), (LIMITS, now)] if keeps_visits else None
        """Each stage and when it was entered, if somebody draws that."""
        self.sent_bytes = self.received_bytes = self.completion_tokens = 0

    def enter(self, stage: int) -> None:
        """It goes on to `stage`, which it may have been in before; or it ends."""
        now = self._clock.now()
        waited = now - self.since
        late = self._clock.lateness(self.since, now)
        if late:
            # It was ready for the program all the while, as far as anybody can tell.
            self.spent[DELIVERY] += late
            waited -= late
        self.spent[self.stage] += waited
        self.stage = stage
        self.since = now
        if self.visits is not None:
            self.visits.append((stage, now))
