"""Telling the refusals of a full server from those that hit requests at random."""

from __future__ import annotations

import math

__all__ = ["ChanceRefusals"]


class _Trial:
    """Is less refused once less is asked? Begun by a refusal that lowered the limit."""

    __slots__ = ("begun", "less", "refused", "requests", "taken")

    def __init__(self, requests: int) -> None:
        self.requests = requests
        """How many were on the server when it began."""
        self.ask_less(requests)

    def ask_less(self, requests: int) -> None:
        """Count anew, once there are a fifth less than `requests`."""
        self.less = max(1.0, 0.8 * requests)
        self.begun = math.inf
        """The number of the first request that was sent when there were no more than `less`. Since then: """
        self.taken = 0
        self.refused = 0


class ChanceRefusals:
    """Forgives as many refusals as come however little is asked.

    Some gateways refuse a share of all requests. Whoever slows down for that slows down to a crawl, for
    nothing. At first one in five hundred is forgiven; any more lower the limit, each by one. When it has
    come down by a fifth, and the share of refusals has not, they are chance, and so many are forgiven for
    the next thousand requests. At a full server hardly any is left by then.
    """

    _USUAL = 0.002
    _MOST = 0.35
    """A larger share is never chance: there is nothing that one could gain by insisting."""
    _SAVED = 10.0
    """How many are forgiven in a row."""
    _STILL = 0.7
    """Of the share of refusals before: if as much is left with less asked, it did not help."""
    _FEWEST, _EXPECTED = 20, 10
    """Requests before a verdict, and how many refusals there should be among them if they are chance."""
    _SMOOTH = 0.02
    _HOLDS_FOR = 1000

    def __init__(self) -> None:
        self._allowance = self._USUAL
        self._holds_until = 0
        """The number of the request from which `_allowance` is the usual one again."""
        self._credit = self._SAVED / 2
        self._share = 0.0
        """Of refusals among the last fifty requests or so, until a trial begins."""
        self._trial: _Trial | None = None

    @property
    def are_known(self) -> bool:
        """Whether so many refusals are chance that no single one tells anything."""
        return self._allowance > self._USUAL

    def sent(self, number: int, requests: int) -> None:
        """Request `number` is sent, one of `requests` that the server has then."""
        trial = self._trial
        if trial is not None and trial.begun == math.inf and requests <= trial.less:
            trial.begun = number
        if number == self._holds_until:
            self._allowance = self._USUAL

    def refused(self, number: int, requests: int) -> bool:
        """Request `number`, one of `requests`, was refused: whether that is forgiven."""
        trial = self._trial
        if trial is None:
            self._share += self._SMOOTH * (1 - self._share)
        elif number >= trial.begun:
            trial.refused += 1
        if self._credit >= 1:
            self._credit -= 1
            return True
        if trial is None:
            self._trial = _Trial(requests)
        elif requests <= 0.8 * trial.less and trial.refused > self._MOST * (trial.refused + trial.taken):
            trial.ask_less(requests)  # The limit is still on its way down.
        return False

    def accepted(self, number: int, limit: float) -> bool:
        """Request `number` was taken, under `limit`: whether that proves that refusals are chance."""
        self._credit = min(self._SAVED, self._credit + self._allowance)
        trial = self._trial
        if trial is None:
            self._share -= self._SMOOTH * self._share
        elif limit > 1.5 * trial.requests:
            self._trial = None  # It has grown meanwhile: the server was not full, or is not any more.
        elif number >= trial.begun:
            trial.taken += 1
            return self._are_chance(trial, number)
        return False

    def _are_chance(self, trial: _Trial, number: int) -> bool:
        seen = trial.taken + trial.refused
        if seen < max(self._FEWEST, self._EXPECTED / self._share):
            return False
        self._trial = None
        share = trial.refused / seen
        if not self._STILL * self._share <= share <= self._MOST:
            self._allowance = self._USUAL
            return False
        self._allowance = 1.5 * share / (1 - share)
        self._holds_until = number + self._HOLDS_FOR
        self._credit = self._SAVED
        return True
