"""How many requests a server takes at once, found out from what it refuses with a 429."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Collection
from itertools import count
from typing import Self

from tinker_sidecar.engine.chance_refusals import ChanceRefusals
from tinker_sidecar.engine.fair_queue import FairQueue
from tinker_sidecar.logs import engine_logger

__all__ = ["Capacity", "Place"]


class Capacity:
    """What one server gives to one credential, shared by all its sessions and samplers.

    Nothing is limited until the server refuses something. A refusal says that the requests it has at that
    moment are all it takes, so from then on one is sent when one finishes. The limit grows again by itself,
    hardly at first and then ever faster, so that a server that has become larger is found out within
    seconds and one that has not is seldom asked in vain (the idea of TCP's CUBIC, RFC 9438, whose loss is
    not as exact as a refusal). Refusals that come however little is asked limit nothing; whether they are of
    that kind shows within a second or so, and sooner if a few tries right after the first one are taken.

    The request that has waited longest goes first, those that were refused among them; where several programs
    share the server, that of each in turn.
    """

    _FIRST_TRIES = 8
    _DOUBLES_IN = 3.0
    """Seconds in which the limit doubles if nothing is refused."""
    _LEAST_GROWTH = 16
    """What it grows by in that time if it is small."""
    _OWN_WAIT = 0.05
    """Seconds that a request waits which was refused by chance, if the server does not say how long."""
    _LONGEST_SILENCE = 1.0
    """Seconds between requests while the server has nothing of ours and refuses all."""
    _TICK = 0.05
    _FORGOTTEN_AFTER = 400.0
    """Seconds after a refusal in which nothing was sent: it tells nothing any more."""
    _TELL_EVERY, _WARN_EVERY = 10.0, 60.0

    def __init__(self, programs: Collection[int] = ()) -> None:
        self._logger = engine_logger(__name__, programs)
        self.limit = math.inf
        """Requests that the server may have at once."""
        self.in_flight = 0
        """Requests that are on their way to the server, or that it has and has not finished."""
        self._under_way = 0
        """Those of which the server has not said yet if it takes them."""
        self._most_under_way = 1
        """More would not be on the wire, but wait for it, and be refused in vain one after the other. Where
        nothing is refused they may: their queue makes room for batches of results."""
        self._known = math.inf
        """The limit without what it has grown by: what is more is a try."""
        self._grows_since = 0.0
        self._tries = 0
        """After the first refusal, so many may be sent at once to see if it was chance."""
        self._tries_under_way = 0
        self._chance = ChanceRefusals()
        self._sent = 0
        self._tickets = count()
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue()
        self._all_refused_since: float | None = None
        self._refused_at = -math.inf
        self._refused_in_vain = 0
        """While the server had nothing of ours."""
        self._silent_until = 0.0
        self._is_ticking = False
        self._told = math.inf
        self._told_at = self._warned_at = -math.inf

    def place(self, under_way: Callable[[], int]) -> Place:
        """A place for a request that comes now, behind all that have come before.

        `under_way` says how many requests keep the server busy before one of them is answered.
        """
        return Place(self, next(self._tickets), under_way)

    @property
    def waiting(self) -> int:
        """How many wait for room."""
        return len(self._waiting)

    @property
    def refusing_for(self) -> float:
        """Seconds for which the server has refused every request; 0 if it took the last one."""
        now = self._now()
        if self._all_refused_since is None or now - self._refused_at > self._FORGOTTEN_AFTER:
            return 0.0
        return now - self._all_refused_since

    def trouble(self) -> str:
        """A sentence for whoever wonders why nothing gets done; empty if it is not for lack of capacity."""
        refusing_for = self.refusing_for
        if not refusing_for:
            return ""
        return f"The server has answered 429 (too many requests) to all for {refusing_for:.0f} s. "

    def try_enter(self, under_way: Callable[[], int]) -> bool:
        """Whether a request may be sent at once; it then counts as such."""
        if self.limit < math.inf or self._waiting.lines:
            self._most_under_way = under_way()
            if self._waiting.lines or not self._has_room():
                return False
        self._let_in()
        return True

    def sent(self) -> tuple[int, bool]:
        """One that may be sent is sent: under which number, and whether it is a try."""
        self._sent += 1
        self._chance.sent(self._sent, self.in_flight)
        is_a_try = self.in_flight > self._known
        self._tries_under_way += is_a_try
        return self._sent, is_a_try

    async def turn(self, ticket: int) -> None:
        """Wait until the request with this `ticket` may be sent."""
        turn = asyncio.get_running_loop().create_future()
        if not self._waiting.lines:
            self._grow_from(self.limit)  # Nobody has wanted more until now.
        self._waiting.put(turn, ticket)
        self._tick_soon()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.gave_up(was_a_try=False)
            raise

    def accepted(self, number: int, under_way: Callable[[], int], *, was_a_try: bool) -> None:
        """The server has taken the request that was sent under this `number`."""
        self._answered(was_a_try=was_a_try)
        self._all_refused_since = None
        self._refused_in_vain = 0
        if self._chance.accepted(number, self.limit):
            self.limit = self._known = math.inf
        elif was_a_try and self._tries:
            self._tries += 2
            self._grow_from(max(self._known, self.in_flight - self._tries_under_way))
        if self._waiting.lines:
            self._most_under_way = under_way()
            self._admit()

    def refused(self, number: int, *, was_a_try: bool, retry_after: float | None) -> float:
        """The server has refused a request, which leaves; returns the seconds until it may try again."""
        self.in_flight -= 1
        self._answered(was_a_try=was_a_try)
        now = self._refused_at = self._now()
        if self._all_refused_since is None:
            self._all_refused_since = now
        wait = retry_after or 0.0
        # To be refused is what a try is for; unless it would have been anyway, at random.
        counts = self._chance.are_known or not was_a_try
        if counts and self._chance.refused(number, self.in_flight + 1):
            wait = max(wait, self._OWN_WAIT * random.uniform(1, 2))
        else:
            self._lower(was_a_try=was_a_try)
            self._tell(now)
        if self.in_flight == 0:
            # Nothing will finish that could make room: only time may.
            self._tries = 0
            silence = min(self._LONGEST_SILENCE, self._OWN_WAIT * 2**self._refused_in_vain)
            self._refused_in_vain += 1
            self._silent_until = now + max(wait, silence * random.uniform(1, 1.25))
        self._admit()
        return wait

    def _lower(self, *, was_a_try: bool) -> None:
        if self.limit == math.inf:
            self._tries = self._FIRST_TRIES
        elif was_a_try:
            self._tries //= 2
        self._grow_from(min(self.limit, max(1, self.in_flight - self._tries_under_way)))

    def left(self) -> None:
        """A request that the server has taken is finished, or was given up."""
        self.in_flight -= 1
        if self._waiting.lines:
            self._admit()

    def gave_up(self, *, was_a_try: bool) -> None:
        """A request is not waited for any more, which the server has neither taken nor refused."""
        self._answered(was_a_try=was_a_try)
        self.left()

    def _answered(self, *, was_a_try: bool) -> None:
        self._under_way -= 1
        self._tries_under_way -= was_a_try

    def _has_room(self) -> bool:
        if self.limit == math.inf:
            return True
        if self.in_flight + 1 > self.limit or self._under_way >= self._most_under_way:
            return False
        return self.in_flight > 0 or self._refused_in_vain == 0 or self._now() >= self._silent_until

    def _admit(self) -> None:
        while self._waiting.lines and self._has_room():
            turn = self._waiting.pop()
            if not turn.done():
                self._let_in()
                turn.set_result(None)

    def _let_in(self) -> None:
        self.in_flight += 1
        self._under_way += 1

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _tick_soon(self) -> None:
        if not self._is_ticking:
            self._is_ticking = True
            asyncio.get_running_loop().call_later(self._TICK, self._tick)

    def _tick(self) -> None:
        self._is_ticking = False
        if self._waiting.lines:
            self._grow()
            self._admit()
            self._warn()
            self._tick_soon()

    def _grow_from(self, limit: float) -> None:
        self._known = limit
        self._grows_since = self._now()
        self.limit = limit + self._tries

    def _grow(self) -> None:
        if self.limit < math.inf and not self._refused_in_vain:
            part = (self._now() - self._grows_since) / self._DOUBLES_IN
            grown = self._known + max(self._known, self._LEAST_GROWTH) * part**3
            self.limit = max(self.limit, grown)

    # What people are told.

    def _tell(self, now: float) -> None:
        changed = not 0.75 < self.limit / self._told < 1.5
        if changed and self._waiting.lines and now - self._told_at > self._TELL_EVERY:
            self._told, self._told_at = self.limit, now
            self._logger.info(
                "the server takes no more than about %.0f requests at once (429): %d wait for their turn",
                self.limit,
                len(self._waiting),
            )

    def _warn(self) -> None:
        now = self._now()
        refusing_for = self.refusing_for
        if refusing_for > self._TELL_EVERY and now - self._warned_at > self._WARN_EVERY:
            self._warned_at = now
            self._logger.warning(
                "the server has answered 429 to every request for %.0f s: %d wait for their turn",
                refusing_for,
                len(self._waiting),
            )


class Place:
    """A request's place among those that want to be on the server."""

    __slots__ = ("_capacity", "_is_a_try", "_is_inside", "_is_under_way", "_number", "_ticket", "_under_way")

    def __init__(self, capacity: Capacity, ticket: int, under_way: Callable[[], int]) -> None:
        self._capacity = capacity
        self._ticket = ticket
        self._under_way = under_way
        self._is_inside = False

    def try_enter(self) -> bool:
        """Whether the request may be sent at once; it then is inside."""
        if not self._capacity.try_enter(self._under_way):
            return False
        self._is_sent()
        return True

    async def enter(self) -> None:
        """Wait until the request may be sent."""
        if not self.try_enter():
            await self.wait()

    async def wait(self) -> None:
        """The same where `try_enter` was of no use."""
        await self._capacity.turn(self._ticket)
        self._is_sent()

    def _is_sent(self) -> None:
        self._number, self._is_a_try = self._capacity.sent()
        self._is_inside = self._is_under_way = True

    def accepted(self) -> None:
        """The server has taken it; it stays inside until it leaves."""
        self._is_under_way = False
        self._capacity.accepted(self._number, self._under_way, was_a_try=self._is_a_try)

    async def refused(self, retry_after: float | None) -> None:
        """The server has refused it, and says perhaps after how many seconds to try again: wait so long."""
        self._is_inside = False
        wait = self._capacity.refused(self._number, was_a_try=self._is_a_try, retry_after=retry_after)
        if wait:
            await asyncio.sleep(wait)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Make room for another, if this one is inside."""
        if not self._is_inside:
            return
        self._is_inside = False
        if self._is_under_way:
            self._capacity.gave_up(was_a_try=self._is_a_try)
        else:
            self._capacity.left()
