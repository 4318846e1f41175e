"""What goes back to the client, gathered into batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from tinker_sidecar.ipc.protocol import Batch, Event, Failure, Reply

__all__ = ["Outbox", "Taken"]

Taken = Callable[[float], object]
"""Hears when the program has taken something, by `monotonic`."""


class Outbox:
    """Sends what has gathered as one `Batch`, and no further one until the client has dealt with it.

    A client whose GIL is contended takes long to answer, so its next batch is large and costs it one
    hand-off all the same. A batch costs an idle client, too, many times what a result in it does, so
    a result waits for those that are on their way when it comes. A lone one leaves at once.
    """

    _MANY = 128
    _LARGE = 256 * 1024
    """Results and their bytes, beside which a batch costs nothing."""
    _STALLED = 1.0
    _MOST_BYTES = 1 << 30

    _GRACE = 0.002
    """Seconds that any client takes to take a batch."""
    _LOOK, _LATE = 0.25, 0.5
    """Seconds between looks while a batch waits, and by which a look is late if this process does not run."""

    def __init__(
        self,
        send: Callable[[Batch], None],
        taken_after: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._send = send
        self._taken_after = taken_after
        """Hears for how long batches have waited for a client that had other things to do."""
        self._untaken: dict[int, tuple[float, list[Taken]]] = {}
        """Batches that the program has not taken, oldest first: when each was sent, and who hears of it."""
        self._waited = 0.0
        """For how long some batch has waited, in all, until `_accounted`."""
        self._accounted = 0.0
        self._excused = 0.0
        """Until when this process itself did not run: it was stopped, or had no core."""
        self._next_look: float | None = None
        self._number = 0
        self._outstanding = False
        self._leaving = False
        self._coming: set[int] = set()
        self._awaited: set[int] = set()
        """Those that were coming when the first of the next batch came, and have not come yet."""
        self._watch: asyncio.TimerHandle | None = None
        self._bytes = self._outstanding_bytes = 0
        self._most_bytes = self._MOST_BYTES
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._clear()

    @property
    def waiting_since(self) -> float | None:
        """Since when a batch has been there for the program, by `monotonic`; None: it has taken all."""
        self._excuse()
        return max(self._oldest(), self._excused) if self._untaken else None

    @property
    def waiting(self) -> float:
        """For how many seconds results have waited that still wait, as far as nobody has heard of it."""
        self._excuse()
        return self._wait(monotonic())

    @property
    def starved(self) -> float:
        """For how many seconds batches have waited so far, with the one that waits now."""
        return self._waited + self.waiting

    def expect(self, request: int) -> None:
        """The result of `request` is on its way."""
        self._coming.add(request)

    def expect_no_more(self, request: int) -> None:
        """It is here, or not to be expected soon."""
        self._coming.discard(request)
        self._awaited.discard(request)
        if self._done and not self._awaited:
            self._schedule()

    def done(self, request: int, payload: bytes, taken: Taken | None, request_id: str = "") -> None:
        """The result of `request`, by the server's name for it; `taken` hears when the program has it."""
        if not self._done:
            self._awaited = self._coming.copy()
        if taken is not None:
            self._taken.append(taken)
        self._done.append(request)
        self._payloads.append(payload)
        self._request_ids.append(request_id)
        self._bytes += len(payload)
        if self._bytes > self._most_bytes:
            self._has_room.clear()
        self._schedule()

    def bound(self, most_bytes: int) -> None:
        """From now on fetch no further results while those that the client has not taken have more bytes."""
        self._most_bytes = most_bytes
        if self._bytes <= most_bytes:
            self._has_room.set()

    async def room(self) -> None:
        """Wait while a client that takes no results has left too many here to fetch further ones."""
        if not self._has_room.is_set():
            await self._has_room.wait()

    def failed(self, request: int, failure: Failure) -> None:
        """`request` is answered with `failure`."""
        self._failed.append((request, failure))
        self._schedule()

    def reply(self, reply: Reply) -> None:
        """A call is answered."""
        self._replies.append(reply)
        self._schedule()

    def event(self, event: Event) -> None:
        """Something happened that nobody asked for."""
        self._events.append(event)
        self._schedule()

    def acknowledged(self, number: int, *, is_awaited: bool = False) -> None:
        """The client has dealt with batch `number`; if it `is_awaited`, it is taken later."""
        if self._outstanding and number == self._number:  # A batch that was sent twice is acknowledged twice.
            self._outstanding = False
            self._bytes -= self._outstanding_bytes
            self._has_room.set()
            if self._done or self._failed or self._replies or self._events:
                self._schedule()
            if not is_awaited:
                self.taken(number, monotonic())

    def taken(self, number: int, at: float) -> None:
        """The program has taken batch `number`, at that time by `monotonic`."""
        if number not in self._untaken:
            return
        self._excuse()
        waited = self._wait(at) if number == next(iter(self._untaken)) else 0.0
        _, hearers = self._untaken.pop(number)
        if waited:
            self._waited += waited
            self._accounted = at
        self._taken_after(waited)
        for hear in hearers:
            hear(at)

    def _wait(self, until: float) -> float:
        """How long batches have waited until then, beyond what any takes and what has been accounted for."""
        if not self._untaken:
            return 0.0
        return max(0.0, until - max(self._oldest() + self._GRACE, self._accounted))

    def _oldest(self) -> float:
        """When the first batch that is not taken was sent."""
        return next(iter(self._untaken.values()))[0]

    def _excuse(self) -> None:
        """Results have not waited for the program while this process could not have given them, either."""
        now = monotonic()
        if self._next_look is not None and now > self._next_look + self._LATE:
            self._excused = self._accounted = self._next_look = now

    def _look(self) -> None:
        self._excuse()
        self._next_look = None
        if self._untaken:
            self._look_again()

    def _look_again(self) -> None:
        self._next_look = monotonic() + self._LOOK
        asyncio.get_running_loop().call_later(self._LOOK, self._look)

    def _schedule(self) -> None:
        if self._outstanding or self._leaving:
            return
        loop = asyncio.get_running_loop()
        if (
            not self._awaited
            or self._failed
            or self._replies
            or self._events
            or len(self._done) >= self._MANY
            or self._bytes >= self._LARGE
        ):
            # A turn of the loop later, so that whatever finishes in this turn goes along.
            self._leaving = True
            loop.call_soon(self._flush)
        elif self._watch is None:
            self._watch = loop.call_later(self._STALLED, self._end_watch, self._number)

    def _end_watch(self, number: int) -> None:
        """Something may be stuck: what has waited for it since batch `number` left goes without."""
        self._watch = None
        if number == self._number:
            self._flush()
        elif self._done:
            self._schedule()

    def _flush(self) -> None:
        self._leaving = False
        if self._outstanding or not (self._done or self._failed or self._replies or self._events):
            return
        self._coming -= self._awaited  # A result is waited for by one batch, and no further one.
        self._number += 1
        self._outstanding = True
        if self._done or self._failed:  # A reply is nothing that the program waits for with its GIL held.
            self._untaken[self._number] = monotonic(), self._taken
            if self._next_look is None:
                self._look_again()
        self._outstanding_bytes = self._bytes
        batch = Batch(
            self._number,
            self._done,
            self._payloads,
            self._failed,
            self._replies,
            self._events,
            request_ids=self._request_ids,
        )
        self._clear()
        self._send(batch)

    def _clear(self) -> None:
        self._done: list[int] = []
        self._taken: list[Taken] = []
        self._payloads: list[bytes] = []
        self._request_ids: list[str] = []
        self._failed: list[tuple[int, Failure]] = []
        self._replies: list[Reply] = []
        self._events: list[Event] = []
