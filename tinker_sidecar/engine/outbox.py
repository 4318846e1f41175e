"""What goes back to the client, gathered into batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tinker_sidecar.protocol import Batch, Event, Failure, Reply

__all__ = ["Outbox"]


class Outbox:
    """Sends what has gathered as one `Batch`, and no further one until the client has dealt with it.

    A client whose GIL is contended takes long to answer, so its next batch is large and costs it one
    hand-off all the same. A batch costs an idle client, too, many times what a result in it does: the
    more requests are in flight, as `in_flight` tells, the more company a result waits for, and the
    longer, up to 25 ms. A lone one leaves at once.
    """

    _COMPANY = 1 / 8  # Of what is in flight.
    _WAIT = 50e-6  # For each request in flight.
    _LONGEST_WAIT = 0.025
    _MOST_BYTES = 1 << 30

    def __init__(self, send: Callable[[Batch], None], in_flight: Callable[[], int]) -> None:
        self._send = send
        self._in_flight = in_flight
        self._number = 0
        self._outstanding = False
        self._leaving = False
        self._timer: asyncio.TimerHandle | None = None
        self._bytes = self._outstanding_bytes = 0
        self._outstanding_taken: list[Callable[[], None]] = []
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._clear()

    def done(self, request: int, payload: bytes, taken: Callable[[], None] | None) -> None:
        """The result of `request`; `taken` is called when the client has it."""
        if taken is not None:
            self._taken.append(taken)
        self._done.append(request)
        self._payloads.append(payload)
        self._bytes += len(payload)
        if self._bytes > self._MOST_BYTES:
            self._has_room.clear()
        self._schedule()

    async def room(self) -> None:
        """Wait while a client that takes no results has left too many here to fetch further ones."""
        if not self._has_room.is_set():
            await self._has_room.wait()

    def failed(self, request: int, failure: Failure) -> None:
        self._failed.append((request, failure))
        self._schedule()

    def reply(self, reply: Reply) -> None:
        self._replies.append(reply)
        self._schedule()

    def event(self, event: Event) -> None:
        self._events.append(event)
        self._schedule()

    def acknowledged(self, number: int) -> None:
        """The client has dealt with batch `number`."""
        if self._outstanding and number == self._number:  # Not of one that came twice.
            self._outstanding = False
            for taken in self._outstanding_taken:
                taken()
            self._bytes -= self._outstanding_bytes
            self._has_room.set()
            if self._done or self._failed or self._replies or self._events:
                self._schedule()

    def _schedule(self) -> None:
        if self._outstanding:
            return
        loop = asyncio.get_running_loop()
        in_flight = self._in_flight()
        if self._replies or len(self._done) >= in_flight * self._COMPANY:
            # A turn of the loop later, so that whatever finishes in this turn goes along.
            if not self._leaving:
                self._leaving = True
                loop.call_soon(self._flush)
        elif self._timer is None:
            self._timer = loop.call_later(min(in_flight * self._WAIT, self._LONGEST_WAIT), self._flush)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._leaving = False
        if self._outstanding or not (self._done or self._failed or self._replies or self._events):
            return
        self._number += 1
        self._outstanding = True
        self._outstanding_bytes = self._bytes
        self._outstanding_taken = self._taken
        batch = Batch(self._number, self._done, self._payloads, self._failed, self._replies, self._events)
        self._clear()
        self._send(batch)

    def _clear(self) -> None:
        self._done: list[int] = []
        self._taken: list[Callable[[], None]] = []
        self._payloads: list[bytes] = []
        self._failed: list[tuple[int, Failure]] = []
        self._replies: list[Reply] = []
        self._events: list[Event] = []
