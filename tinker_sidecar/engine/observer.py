"""Who may look on, while an engine works."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

__all__ = ["Observer", "Span", "Spans", "no_span"]


class Observer(Protocol):
    """Hears of everything, on the engine's thread, which it must not hold up. Times are by `monotonic`."""

    def request(
        self,
        visits: Sequence[float],
        *,
        number: int,
        request_id: str | None,
        sampling_session_id: str | None,
        prompt_tokens: int | None,
        outcome: str,
    ) -> None:
        """A request has ended. `visits` are the stages that it was in, by their places in `STAGES`, each
        followed by when it entered it; the last is its end. `outcome` is "finished", "cancelled" or an
        error's class."""

    def span(self, lane: str, name: str, start: float, end: float, **details: object) -> None:
        """Something else went on from `start` to `end`."""

    def counter(self, name: str, values: Mapping[Any, float]) -> None:
        """How many there are of something now."""


Span = Callable[..., None]
"""`Observer.span`."""


def no_span(*_: object, **__: object) -> None:
    """Nobody looks on."""


class Spans:
    """Tells several what goes on, that concerns them all."""

    def __init__(self) -> None:
        self.hearers: list[Span] = []

    def tell(self, lane: str, name: str, start: float, end: float, **details: object) -> None:
        """See `Observer.span`."""
        for hear in dict.fromkeys(self.hearers):  # A program with two sessions hears of it once.
            hear(lane, name, start, end, **details)
