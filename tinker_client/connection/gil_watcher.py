"""Knowing who holds the GIL where the engine is in process, and cannot run itself while somebody does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import IO

import msgspec

from tinker_client.connection.own_threads import OwnThreads
from tinker_sidecar.engine.observer import Span, no_span
from tinker_sidecar.ipc.stats import GilHolder
from tinker_sidecar.logs import engine_logger
from tinker_sidecar.processes.child import ChildProcess, last_words
from tinker_sidecar.supervision import go_on
from tinker_sidecar.system import permit_looks
from tinker_sidecar.watch.culprit import find_culprit
from tinker_sidecar.watch.feed import BUSY, IDLE, IDLE_TICK, TICK, WAKING, Feed, Finding
from tinker_sidecar.watch.recent import RecentGrowth
from tinker_sidecar.watch.trouble import LATELY, LONG

__all__ = ["GilWatcher"]

logger = engine_logger(__name__)

_EXIT_TIMEOUT = 1.0
_WARN_EVERY = 60.0
"""Seconds between warnings, at least."""
_SOME_OF_IT = 0.1
"""The part of a hold that a thread must have run for, to be held responsible when it is over: other processes
may have had the cores."""
_MOST_UNFINISHED = 1 << 20
"""Bytes. A line is a few thousand at most."""


class GilWatcher:
    """A process that looks at this program, started by default when the engine has first been held up.

    It hears of that by signs of life that do not come. What it finds is logged here. Everything but `expect`
    and `abandon` is to be called on the engine's thread, while its event loop runs.

    Parameters
    ----------
    busy
        Whether anything is in flight, or about to be: an engine that has nothing to do is kept from nothing.
    waiting_since
        Since when results wait for an event loop of the program's, by `time.monotonic`; None if none do.
    span
        Told of each time that somebody was responsible for, for a trace.
    at_once
        Start the process with `run`.
    """

    def __init__(
        self,
        busy: Callable[[], bool],
        waiting_since: Callable[[], float | None],
        span: Span = no_span,
        *,
        at_once: bool = False,
    ) -> None:
        self._busy = busy
        self._waiting_since = waiting_since
        self._span = span
        self._at_once = at_once
        self._feed = Feed()
        """Of what this engine gives, as long as nobody else listens."""
        self._recent = RecentGrowth(LATELY)
        self._threads = OwnThreads()
        self._last = IDLE
        """The last sign of life."""
        self._child: ChildProcess | None = None
        self._errors: IO[bytes] | None = None
        self._is_starting = False
        self._started: tuple[ChildProcess, IO[bytes]] | None = None
        """A process that the engine's thread has yet to hear of."""
        self._next_warning = 0.0
        self._is_fed = False
        """Whether the watcher has had a sign of life, and so will miss the next."""
        self._over = False
        """There will be no watcher any more."""
        self._unfinished = b""
        self._decode = msgspec.json.Decoder(Finding).decode
        self._holders: list[GilHolder] = []

    async def run(self) -> None:
        """Give signs of life until cancelled."""
        if self._at_once:
            self._start()
        await go_on("signs of life", self._step)

    def holders(self) -> list[GilHolder]:
        """Who held the GIL while results waited, the worst first."""
        return self._holders

    def expect(self) -> None:
        """From any thread: the engine has just been given something to do.

        The very next statement of the program may hold the GIL, and the engine would not know before that is
        over that it has been busy.
        """
        if self._last is IDLE and not self._over:
            self._give(WAKING)
            if not self._is_fed:
                self._threads.note()

    def close(self) -> None:
        """End the process."""
        self._over = True
        self._end_started()
        if self._child is not None:
            asyncio.get_running_loop().remove_reader(self._child.exit_fd)
            self._child.end(_EXIT_TIMEOUT)
            self._let_go()

    def abandon(self) -> None:
        """In a forked child: let go of the parent's watcher without touching it."""
        if self._child is not None:
            self._child.abandon()

    async def _step(self) -> bool:
        if self._over:
            return False
        since = self._waiting_since()
        if since is not None and self._last is not IDLE and monotonic() - since > TICK:
            # The engine runs, but an event loop does not: to who waits for results that is the same.
            if not self._is_fed and not self._is_starting and monotonic() - since > LONG:
                self._start()
            await asyncio.sleep(TICK)
            return True
        sign = BUSY if self._busy() else IDLE
        if not self._is_fed:
            self._look_out()
            if sign is BUSY:
                self._threads.note()
        if sign is BUSY or self._last is not IDLE:
            self._give(sign)
        await asyncio.sleep(TICK if sign is BUSY else IDLE_TICK)
        return True

    def _give(self, sign: bytes) -> None:
        self._last = sign
        self._feed.take(sign)
        if (child := self._child) is not None:
            with contextlib.suppress(ValueError):  # The engine's thread has just closed it.
                child.write(sign)
            self._is_fed = True

    def _look_out(self) -> None:
        """Start the watcher, or wait for its start, if this sign of life is late or many have been lately."""
        now, since = monotonic(), self._feed.waiting_since()
        late = 0.0 if since is None else now - since
        if late > LONG:
            self._tell_afterwards(late)
        lately = self._recent.at(now, self._feed.starved())
        if (late > LONG or lately > LONG) and not self._is_starting:
            self._start()

    def _tell_afterwards(self, late: float) -> None:
        """While the GIL was held nobody could look; but who has run meanwhile is known, and where it is."""
        now = monotonic()
        if now < self._next_warning:
            return
        self._next_warning = now + _WARN_EVERY
        if self._threads.have_taken() < late * _SOME_OF_IT:
            logger.warning(
                "results waited %.1f s for this program; it hardly ran: it was stopped, or short of CPU", late
            )
            return
        thread = self._threads.busiest(late * _SOME_OF_IT)
        culprit = None if thread is None else find_culprit([thread])
        who = "nobody could look who held its GIL"
        if culprit is not None:
            who = f'its thread "{culprit.thread}" ran meanwhile, and was at {culprit.place} right after'
        logger.warning("results waited %.1f s for this program; %s", late, who)

    def _start(self) -> None:
        """Have the process started on a thread of its own.

        To start one gives up the GIL many times, and it is just now hard to get.
        """
        self._is_starting = True
        work = partial(self._start_elsewhere, asyncio.get_running_loop())
        try:
            threading.Thread(target=work, name="tinker-gil-watcher-start", daemon=True).start()
        except RuntimeError as error:
            self._cannot_start(error)

    def _start_elsewhere(self, loop: asyncio.AbstractEventLoop) -> None:
        import tempfile  # Slow to import, and rarely needed.

        outcome: Callable[[], None]
        try:
            errors = tempfile.TemporaryFile()  # noqa: SIM115  # It stays open for as long as the child.
            child = ChildProcess("tinker_sidecar.watch", str(os.getpid()), errors=errors)
            self._started = child, errors
            outcome = self._has_started
        except (OSError, RuntimeError) as error:
            outcome = partial(self._cannot_start, error)
        with contextlib.suppress(RuntimeError):  # The engine's loop is closed.
            loop.call_soon_threadsafe(outcome)
        # Whichever of this thread and `close` comes second sees what the other has left.
        if self._over:
            self._end_started()

    def _cannot_start(self, error: Exception) -> None:
        self._over = True
        logger.warning("cannot start a process that tells who holds the GIL: %s", error)

    def _end_started(self) -> None:
        """End a watcher that came when there was nothing left to watch."""
        started, self._started = self._started, None
        if started is not None:
            child, errors = started
            child.end(_EXIT_TIMEOUT)
            child.close()
            errors.close()

    def _has_started(self) -> None:
        started, self._started = self._started, None
        if started is None:
            return
        self._child, self._errors = child, _ = started
        permit_looks(child.pid)
        child.never_wait_to_write()
        asyncio.get_running_loop().add_reader(child.exit_fd, self._hear)

    def _hear(self) -> None:
        """Take what the watcher has found."""
        assert self._child is not None
        heard = os.read(self._child.exit_fd, 1 << 16)
        if not heard:
            self._has_ended()
            return
        *lines, unfinished = (self._unfinished + heard).split(b"\n")
        self._unfinished = unfinished[-_MOST_UNFINISHED:]
        for line in lines:
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            finding = self._decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return  # The user's own start-up files may print something.
        if finding.holders is not None:
            self._holders = finding.holders
        for lane, place, start, end, thread in finding.spans:
            self._span(lane, place, start, end, thread=thread)
        if finding.message:
            engine_logger(finding.logger).log(finding.level, "%s", finding.message)

    def _has_ended(self) -> None:
        """It should not have. Sampling goes on without it."""
        assert self._child is not None
        assert self._errors is not None
        self._over = True
        asyncio.get_running_loop().remove_reader(self._child.exit_fd)
        how = self._child.how_it_ended(_EXIT_TIMEOUT) or "closed its pipe"
        logger.warning(
            "the process that tells who holds the GIL %s; %s",
            how,
            last_words(self._errors) or "no last words",
        )
        self._child.end(_EXIT_TIMEOUT)
        self._let_go()

    def _let_go(self) -> None:
        """Close what belongs to the watcher."""
        child, self._child = self._child, None
        errors, self._errors = self._errors, None
        if child is not None:
            child.close()
        if errors is not None:
            errors.close()
