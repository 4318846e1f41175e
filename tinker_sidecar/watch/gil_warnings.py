"""What the program's log says about results that wait for it: a line at the end of a hold, one a minute."""

from __future__ import annotations

from time import monotonic

import msgspec

from tinker_sidecar.logs import engine_logger
from tinker_sidecar.watch.culprit import Culprit
from tinker_sidecar.watch.gil_profile import GilProfile

__all__ = ["GilWarnings"]

logger = engine_logger(__name__)

_EVERY = 60.0
"""Seconds between two warnings, at least. What happens in between is told by the next."""
_IMPORTANT = 5.0
"""Seconds from which on a hold is told at its end, whenever the last warning was."""
_WITHIN = 10.0
"""Seconds after which trouble that goes on is told."""
_WHOLE = 0.9
"""From this share on results have waited all the time."""
_BEFORE = 5.0
"""Seconds before a hold that count as trouble with it."""
_MOST_NAMED = 3
_LEAST_SHARE = 0.05


class _Untold(msgspec.Struct):
    """What no warning has told yet."""

    begin: float
    starved: float
    """How much results had waited in all when it began, in seconds."""
    profile: GilProfile = msgspec.field(default_factory=GilProfile)
    remark: str = ""
    advice: tuple[str, str] = "", ""


class GilWarnings:
    """Gathers what has been seen, and tells it."""

    def __init__(self) -> None:
        self._untold: _Untold | None = None
        self._told_at = self._next = 0.0
        self._longest_hold = 0.0
        """Of those that are untold, in seconds."""
        self._advised = {""}

    @property
    def are_untold(self) -> bool:
        """Whether something has been seen that is yet to be told."""
        return self._untold is not None

    def begin(self, begin: float, starved: float) -> None:
        """Results wait, or go on waiting, since `begin`, when they had waited `starved` seconds in all."""
        if self._untold is None:
            self._untold = _Untold(begin, starved)

    def held(self, since: float, seconds: float) -> None:
        """A hold has ended, which began then and was that long."""
        self._longest_hold = max(self._longest_hold, seconds)
        if self._untold is not None and seconds > _WHOLE * (monotonic() - self._untold.begin - _BEFORE):
            # What there was before it is not worth telling.
            self._untold.begin = max(self._untold.begin, since)

    def saw(self, culprit: Culprit, seconds: float) -> None:
        """`culprit` is responsible for some of it."""
        if self._untold is not None:
            self._untold.profile.add(culprit, seconds)

    def remark(self, remark: str) -> None:
        """What there is to say if nobody is found responsible."""
        if self._untold is not None:
            self._untold.remark = remark

    def advise(self, about: str, advice: str) -> None:
        """Why nobody can be found responsible, and what would help: about one thing it is said once."""
        if self._untold is not None:
            self._untold.advice = about, advice

    def tell_if_due(self, now: float, starved: float, *, holds: bool, goes_on: bool) -> None:
        """Tell what is untold, but not too often.

        While it `holds`, the program cannot log anything. So that is told at its end, and once a minute until
        then, for who reads the sidecar's own log. Short waits that add up are told when that `goes_on` for
        10 s.
        """
        untold = self._untold
        if untold is None:
            return
        if holds:
            due = now - max(untold.begin, self._told_at) >= _EVERY
        else:
            due = now >= self._next and not (goes_on and now - untold.begin < _WITHIN)
            due = due or self._longest_hold >= _IMPORTANT
        if due:
            self._tell(untold, starved - untold.starved, now - untold.begin)
            self._told_at = now
            if not holds:
                self._untold = None
                self._longest_hold = 0.0
                self._next = now + _EVERY

    def _tell(self, untold: _Untold, waited: float, period: float) -> None:
        of = "" if waited > _WHOLE * period else f" of the last {period:.1f} s"
        logger.warning("results waited %.1f s%s for this program%s", waited, of, self._why(untold, waited))

    def _why(self, untold: _Untold, waited: float) -> str:
        seen = untold.profile.dearest()
        if len(seen) == 1:
            return f"; {seen[0][1]}"
        if seen:
            shares = [(seconds / max(waited, seconds), culprit) for seconds, culprit in seen[:_MOST_NAMED]]
            return "".join(f"; {who} ({100 * share:.0f} %)" for share, who in shares if share >= _LEAST_SHARE)
        if untold.remark:
            return f"; {untold.remark}"
        about, advice = untold.advice
        if about in self._advised:
            return ""
        self._advised.add(about)
        return f"; who holds its GIL is not known: {advice}"
