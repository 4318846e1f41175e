"""Whose turn it is to have a poll open, when many samplers of one server want to hear of their results."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from itertools import islice
from time import monotonic
from typing import Any

from tinker_sidecar.engine.reminders import Reminders

__all__ = ["Asking", "PollTurns", "Turn"]

_WHEN_BUSY = 16
"""Polls that may be open however much else there is to do: a few samplers never wait for their turn."""

_WITHIN = 1.0
"""Seconds in which each sampler is to have its turn, when there are more of them than turns."""

_A_SECOND = 500
"""Polls a second, at most, of samplers that take turns and wait for something slow. More samplers than that
have their turns less often."""

_OVERTIME = 5.0
"""Seconds for which an answer may be late, before the server is taken to hold polls as it likes."""

_LOOK_EVERY = 0.05


class Turn:
    """The right to have one poll open."""

    __slots__ = ("end", "hold", "since")

    def __init__(self, end: Callable[[], None], hold: float | None) -> None:
        self.end = end
        """Called when the turn has lasted too long, while others wait for theirs."""
        self.hold = hold
        """Seconds that the server is to hold the poll. None: for as long as it likes."""
        self.since = monotonic()


class PollTurns:
    """Gives turns to at most `most` at once, in the order in which they are asked for.

    Each open poll costs a connection where there is no HTTP/2, and a place at the server. While there is room
    for all samplers, a turn comes at once and lasts as long as the server likes to hold a poll. When there
    are more of them, they take turns: a poll is then held so briefly that each sampler has its turn within a
    second, and those that are open already, which the server would hold for half a minute, are ended.

    A poll costs as much as a sample, and tells of all that is finished by then. So while requests queue
    up to be sent (`is_busy`), polls are put off: what they would tell of could only join that queue, and a
    poll that comes later tells of more. Few may be open at once then; but twice as many for each second that
    the first in the queue has waited, so that nobody waits long behind polls of which nothing comes.
    """

    def __init__(self, most: int, is_busy: Callable[[], bool]) -> None:
        self._most = most
        self.is_busy = is_busy
        """Whether there is more to do than can be kept up with."""
        self._open: dict[Turn, None] = {}
        """Oldest first."""
        self._asking: OrderedDict[Asking, None] = OrderedDict()
        self._crowd, self._crowd_until = 0, 0.0
        """How many samplers there were lately, if more than turns, and until when that is to be believed."""
        self._timer: asyncio.TimerHandle | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self.reminders = Reminders()
        """For whoever will have something to tell the server later."""

    def has_room_for_more(self) -> bool:
        """Whether there is room for a poll that nobody needs yet, but somebody may need in a moment."""
        if self._asking:
            return False
        return not self._open or (len(self._open) < self._most // 2 and not self.is_busy())

    def ask(self, begin: Callable[[Turn], None], end: Callable[[], None]) -> Asking | None:
        """Have `begin` called with a turn, to be given back: now, or later.

        Returns None, or what `withdraw` takes until then. The turn should be over soon after `end` is called.
        """
        if not self._asking and self._may_open(0.0):
            begin(self._grant(end))
            return None
        asking = Asking(begin, end)
        self._asking[asking] = None
        self._note_crowd()
        self._watch()
        return asking

    def withdraw(self, asking: Asking) -> None:
        """That turn is not wanted any more."""
        self._asking.pop(asking, None)

    async def take(self, end: Callable[[], None]) -> Turn:
        """Wait for a turn, to be given back."""
        granted: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()

        def begin(turn: Turn) -> None:
            if granted.cancelled():  # Who waits has not heard of it yet. `hand_out` goes on with the next.
                del self._open[turn]
            else:
                granted.set_result(turn)

        asking = self.ask(begin, end)
        try:
            return await granted
        except asyncio.CancelledError:
            if asking is not None:
                self.withdraw(asking)
            if not granted.cancelled():
                self.give_back(granted.result())
            raise

    def give_back(self, turn: Turn) -> None:
        """End a turn, and give it to who waits for one."""
        del self._open[turn]
        self.hand_out()

    def hand_out(self) -> None:
        """Give turns to those who may have one by now."""
        while self._asking:
            first = next(iter(self._asking))
            if not self._may_open(monotonic() - first.since):
                self._watch()
                return
            del self._asking[first]
            first.begin(self._grant(first.end))

    def see_off(self, farewell: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a sampler's last words to the server; `close` waits for them."""
        task = asyncio.create_task(farewell)
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        return task

    async def close(self) -> None:
        """Wait until those who are leaving have left, which they do soon."""
        await asyncio.gather(*self._leaving, return_exceptions=True)

    def _may_open(self, waited: float) -> bool:
        room = self._most
        if self.is_busy():
            room = min(room, int(_WHEN_BUSY * 2 ** min(waited, 10.0)))
        return len(self._open) < room

    def _grant(self, end: Callable[[], None]) -> Turn:
        turn = Turn(end, self._hold())
        self._open[turn] = None
        return turn

    def _hold(self) -> float | None:
        """How long a poll may be held by now; None: as long as the server likes, as there is room for all."""
        if monotonic() > self._crowd_until:
            return None
        return _WITHIN * self._most / min(self._crowd, _A_SECOND)

    def _note_crowd(self) -> None:
        """Count the samplers when one has to wait. One whose turn has just ended may ask again in a moment,
        and is missing then: so the most that were counted lately are believed.
        """
        samplers, now = len(self._open) + len(self._asking), monotonic()
        if samplers > self._most and (samplers >= self._crowd or now > self._crowd_until):
            self._crowd, self._crowd_until = samplers, now + 2 * _WITHIN

    def _watch(self) -> None:
        """Look again in a moment, and for as long as anybody waits."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LOOK_EVERY, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._asking and len(self._open) >= self._most:
            self._end_overlong_turns()
        self.hand_out()

    def _end_overlong_turns(self) -> None:
        """End those that began when there was room for all, or that the server holds longer than it should.

        As many as are waited for: to end a poll costs its connection, where that is not HTTP/2.
        """
        now = monotonic()
        hold = self._hold() or _WITHIN
        for turn in list(islice(self._open, len(self._asking))):
            if now - turn.since > (hold if turn.hold is None else turn.hold + _OVERTIME):
                turn.end()


class Asking:
    """Somebody who waits for a turn."""

    __slots__ = ("begin", "end", "since")

    def __init__(self, begin: Callable[[Turn], None], end: Callable[[], None]) -> None:
        self.begin = begin
        self.end = end
        self.since = monotonic()
