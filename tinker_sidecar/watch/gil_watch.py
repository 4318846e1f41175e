"""Looking at who holds the program's GIL, while it does not take its results."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from time import monotonic

from tinker_sidecar.ipc.stats import GilHolder
from tinker_sidecar.supervision import go_on
from tinker_sidecar.system import is_stopped
from tinker_sidecar.watch.culprit import Culprit, find_culprit
from tinker_sidecar.watch.gil_profile import GilProfile
from tinker_sidecar.watch.gil_warnings import GilWarnings
from tinker_sidecar.watch.py_spy import CannotLook, look_at, look_seconds
from tinker_sidecar.watch.recent import RecentGrowth
from tinker_sidecar.watch.trouble import LATELY, LONG

__all__ = ["GilWatch"]

_TICK = 0.25
"""Seconds between two thoughts of whether a look is due. A thought costs microseconds."""
_EVERY = 2.0
"""Seconds between two looks, at least."""
_SHARE = 0.02
"""Of a core, which is what the looks of this process may cost, at however many programs."""
_AFTER_FAILURE = 60.0
"""Seconds until the next try where py-spy is missing or not permitted."""
_TRANSIENT = 3
"""So many failures in a row are no longer chance."""
_MOST_HOLDERS = 20


async def _at_once() -> None:
    """For who is to watch all the time."""


class GilWatch:
    """Watches process `program`, which has results waiting for it.

    Two kinds of trouble are looked at: a *hold*, for the whole of which the program takes nothing, as when a
    C function keeps the GIL; and many short waits that add up, as when several threads compete for the GIL.

    Parameters
    ----------
    program
        Its process id. It must be permitted to look into that process.
    waiting_since
        The time, by `time.monotonic`, since when results have been waiting, which stays the same during one
        wait; None while none are.
    starved
        For how many seconds results have been waiting so far, all in all, with the wait that is going on.
    span
        Told of each time that somebody was responsible for: a lane, the place, and from when to when.
    until_busy
        Waits until the program has requests under way. Without any there is nothing to watch.
    """

    _paid_at = 0.0
    """When what all looks of this process have cost is paid, and the next may be. Infinity: one goes on."""

    def __init__(
        self,
        program: int,
        waiting_since: Callable[[], float | None],
        starved: Callable[[], float],
        span: Callable[..., None] = lambda *_, **__: None,
        until_busy: Callable[[], Awaitable[None]] = _at_once,
    ) -> None:
        self._program = program
        self._waiting_since = waiting_since
        self._starved = starved
        self._span = span
        self._until_busy = until_busy
        self._recent = RecentGrowth(LATELY)
        self._warnings = GilWarnings()
        self._profile = GilProfile()
        self._accounted = 0.0
        """What `starved` was when somebody was last found responsible for it, or nobody."""
        self._held_since: float | None = None
        """Since when results wait, if that is a hold."""
        self._starved_before = 0.0
        """What `starved` was when the hold began."""
        self._last_seen: Culprit | None = None
        """In this hold."""
        self._next_look = 0.0
        self._failures = 0
        """In a row."""

    async def run(self) -> None:
        """Watch until cancelled."""
        await go_on("looks at who holds the GIL", self._step)

    def holders(self) -> list[GilHolder]:
        """Who held the GIL, or blocked the event loop, while results waited; the worst first."""
        return self._profile.holders(_MOST_HOLDERS, self._starved())

    async def _step(self) -> bool:
        if self._held_since is None and not self._warnings.are_untold:
            await self._until_busy()
        await asyncio.sleep(_TICK)
        now, since, starved = monotonic(), self._waiting_since(), self._starved()
        if self._held_since not in (None, since):
            self._end_hold(starved)
        lately = self._recent.at(now, starved)
        if since is not None and now - since > LONG:
            self._held_since, self._starved_before = since, starved - (now - since)
            self._begin(since, starved - (now - since))
        elif lately > LONG:
            self._begin(now - LATELY, starved - lately)
        if since is not None and (self._held_since is not None or lately > LONG):
            await self._look_if_due()
        holds = self._held_since is not None
        self._warnings.tell_if_due(now, starved, holds=holds, goes_on=lately > LONG)
        return True

    def _begin(self, begin: float, starved: float) -> None:
        """There is, or goes on, what began at `begin`, when `starved` was this much."""
        self._accounted = max(self._accounted, starved)
        self._warnings.begin(begin, starved)

    def _end_hold(self, starved: float) -> None:
        """Who was seen last has held the GIL until now. What comes next is another matter."""
        self._account(self._last_seen, starved)
        if self._held_since is not None:
            self._warnings.held(self._held_since, starved - self._starved_before)
        self._held_since = self._last_seen = None
        self._recent.forget()

    async def _look_if_due(self) -> None:
        if monotonic() < max(self._next_look, GilWatch._paid_at):
            return
        hold, used = self._held_since, look_seconds()
        pause, GilWatch._paid_at = _EVERY, math.inf
        try:
            culprit = await self._look()
        except CannotLook as reason:
            pause = self._cannot_look(reason)
        else:
            self._failures = 0
            if hold is None or self._waiting_since() == hold:  # Otherwise it may be who came after.
                self._account(culprit, self._starved())
        finally:
            GilWatch._paid_at = monotonic() + (look_seconds() - used) / _SHARE
        # Later than others may, who have their turns then.
        self._next_look = max(monotonic() + pause, GilWatch._paid_at + _TICK)

    async def _look(self) -> Culprit | None:
        if is_stopped(self._program):
            self._warnings.remark("it was stopped, by SIGSTOP or a debugger")
            return None
        culprit = find_culprit(await look_at(self._program))
        if culprit is None:
            self._warnings.remark("none of its threads held the GIL: it was short of CPU, or of memory")
        return culprit

    def _cannot_look(self, reason: CannotLook) -> float:
        """The seconds to wait until the next try."""
        self._failures += 1
        if reason.lasts:
            self._warnings.advise(str(reason), str(reason))
            return _AFTER_FAILURE
        if self._failures == _TRANSIENT:
            self._warnings.advise("py-spy", str(reason))
        return _EVERY

    def _account(self, culprit: Culprit | None, starved: float) -> None:
        """`culprit`, or nobody, is responsible for what has not been accounted for until now."""
        seconds, self._accounted = starved - self._accounted, starved
        if culprit is not None:
            self._last_seen = culprit
            self._profile.add(culprit, seconds)
            self._warnings.saw(culprit, seconds)
            now = monotonic()
            self._span("starved", culprit.place, now - seconds, now, thread=culprit.thread)
