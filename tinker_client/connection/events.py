"""What the engine tells without having been asked: log lines, and the state of a sampler's queue."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial

from tinker_client.callbacks import run_soon
from tinker_sidecar.ipc.protocol import Event, LogLine, QueueStateEvent

__all__ = ["Events", "QueueObserver"]

QueueObserver = Callable[[str, str | None], None]
"""Hears the state of a sampler's queue and the reason that the server gives."""


class Events:
    """Passes events on to those they are for, on the callbacks' thread, since that runs the user's code."""

    def __init__(self) -> None:
        self._queue_observers: dict[int, QueueObserver] = {}

    def observe_queue(self, sampler: int, observer: QueueObserver) -> None:
        """Have `observer` hear of the queue of `sampler`."""
        self._queue_observers[sampler] = observer

    def forget_sampler(self, sampler: int) -> None:
        """Have nobody hear of its queue any more."""
        self._queue_observers.pop(sampler, None)

    def pass_on(self, events: Iterable[Event]) -> None:
        """Have each of `events` handled soon, in order."""
        for event in events:
            run_soon(partial(self._handle, event))

    def _handle(self, event: Event) -> None:
        if isinstance(event, LogLine):
            logging.getLogger(event.logger).log(event.level, "%s", event.message)
        elif isinstance(event, QueueStateEvent) and (observer := self._queue_observers.get(event.sampler)):
            observer(event.state, event.reason)
